"""Training curve as an SVG picture."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

_WIDTH, _HEIGHT, _MARGIN = 640, 300, 48
_LINES = {
    "test_crop_dice": ("#2f6fb0", "held-out crops", -8),
    "trained_crop_dice": ("#d0743c", "crops trained on", 16),
}


def training_curve(history: Sequence[Mapping[str, Any]]) -> str:
    """Return the Dice of held-out and training crops against optimiser steps, as an SVG document.

    If both curves rise together, more steps or a larger network may help; if only the second rises, they will not.

    Args:
        history: History of the manifest, entries with ``step``, ``test_crop_dice`` and ``trained_crop_dice``; missing
            values and None are skipped.
    """
    lines = {
        name: [(entry["step"], entry[name]) for entry in history if entry.get(name) is not None] for name in _LINES
    }
    points = [point for line in lines.values() for point in line]
    last = max((step for step, _ in points), default=1)
    low = math.floor(10 * min((dice for _, dice in points), default=0)) / 10
    high = max(low + 0.1, math.ceil(10 * max((dice for _, dice in points), default=1)) / 10)

    def place(step: float, dice: float) -> str:
        x = _MARGIN + step / last * (_WIDTH - 2 * _MARGIN)
        return f"{x:.1f},{_HEIGHT - _MARGIN - (dice - low) / (high - low) * (_HEIGHT - 2 * _MARGIN):.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        'font-size="12" fill="#52606d"><rect width="100%" height="100%" fill="white"/>'
    ]
    for tenth in range(round(10 * low), round(10 * high) + 1):
        start, end = place(0, tenth / 10), place(last, tenth / 10)
        parts.append(f'<path d="M{start} L{end}" stroke="#e2e8f0"/>')
        x, y = start.split(",")
        parts.append(f'<text x="{x}" y="{y}" dx="-8" dy="4" text-anchor="end">{tenth / 10:.1f}</text>')
    for name, (colour, title, below) in _LINES.items():
        if lines[name]:
            path = " ".join(place(*point) for point in lines[name])
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
            x, y = place(*lines[name][-1]).split(",")
            text = f"{title}: {lines[name][-1][1]:.3f}"
            parts.append(f'<text x="{x}" y="{y}" dy="{below}" text-anchor="end" fill="{colour}">{text}</text>')
    parts.append(
        f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 12}" text-anchor="middle">{last} optimiser steps: '
        "Dice of crops in the network's field</text></svg>\n"
    )
    return "".join(parts)
