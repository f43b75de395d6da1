"""The curve of a training as a picture: what more steps brought, and what they did not."""

from collections.abc import Mapping, Sequence
from typing import Any

_WIDTH, _HEIGHT, _MARGIN = 640, 300, 48


def training_curve(history: Sequence[Mapping[str, Any]]) -> str:
    """Dice of the held-out crops against optimiser steps, as an SVG document.

    Args:
        history: The manifest's, each entry with ``step`` and ``test_crop_dice``; entries without a Dice are left out.
    """
    points = [(entry["step"], entry["test_crop_dice"]) for entry in history if entry["test_crop_dice"] is not None]
    last = max((step for step, _ in points), default=1)

    def place(step: float, dice: float) -> str:
        x = _MARGIN + step / last * (_WIDTH - 2 * _MARGIN)
        return f"{x:.1f},{_HEIGHT - _MARGIN - dice * (_HEIGHT - 2 * _MARGIN):.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        'font-size="12" fill="#52606d"><rect width="100%" height="100%" fill="white"/>'
    ]
    for tenth in range(0, 11, 2):
        start, end = place(0, tenth / 10), place(last, tenth / 10)
        parts.append(f'<path d="M{start} L{end}" stroke="#e2e8f0"/>')
        x, y = start.split(",")
        parts.append(f'<text x="{x}" y="{y}" dx="-8" dy="4" text-anchor="end">{tenth / 10:.1f}</text>')
    line = " ".join(place(*point) for point in points)
    parts.append(f'<polyline points="{line}" fill="none" stroke="#2f6fb0" stroke-width="2"/>')
    if points:
        x, y = place(*points[-1]).split(",")
        parts.append(f'<text x="{x}" y="{y}" dy="-8" text-anchor="end" fill="#1b2733">{points[-1][1]:.3f}</text>')
    parts.append(
        f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 12}" text-anchor="middle">{last} optimiser steps: '
        "Dice of the held-out crops in the network's field</text></svg>\n"
    )
    return "".join(parts)
