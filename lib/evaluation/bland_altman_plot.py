"""Bland-Altman plot: difference of two readers over the mean of both, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from lib.evaluation.bland_altman import Difference

_WIDTH, _HEIGHT, _MARGIN = 420, 280, 50
_POINT, _LINE, _TEXT = "#2f6fb0", "#d0743c", "#1d2733"


def bland_altman_plot(
    title: str, first: Sequence[float], second: Sequence[float], percent: Difference, unit: str = "mm³"
) -> str:
    """Return the plot of differences in percent over means, with bias, limits of agreement and their intervals.

    Args:
        title: Shown above.
        first: Volumes by one reader, all above 0.
        second: Volumes of the same lesions by the other.
        percent: Bias and limits of agreement in percent of the mean.
        unit: Unit of the volumes.

    Returns:
        An SVG element.
    """
    one, other = np.asarray(first, float), np.asarray(second, float)
    mean, difference = (one + other) / 2, 200 * (one - other) / (one + other)
    ends = [end for between in (percent.intervals or {}).values() for end in between]
    reach = 1.1 * max(np.abs([*difference, *ends, percent.low, percent.high, 1.0]))
    logs = np.log10(mean)
    lowest, highest = np.floor(logs.min()), max(np.ceil(logs.max()), np.floor(logs.min()) + 1)

    def x(logarithm: float) -> float:
        return float(_MARGIN + (logarithm - lowest) / (highest - lowest) * (_WIDTH - 2 * _MARGIN))

    def y(value: float) -> float:
        return float(_HEIGHT / 2 - value / reach * (_HEIGHT / 2 - _MARGIN))

    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img" aria-label="{escape(title)}" '
        f'font-family="system-ui, sans-serif" font-size="11" fill="{_TEXT}">'
        f'<text x="{_MARGIN}" y="18" font-size="12" font-weight="600">{escape(title)}</text>'
    ]
    for name, key, value in (
        ("upper limit", "high", percent.high),
        ("bias", "bias", percent.bias),
        ("lower limit", "low", percent.low),
    ):
        if between := (percent.intervals or {}).get(key):
            top, bottom = y(between[1]), y(between[0])
            parts.append(
                f'<rect x="{_MARGIN}" y="{top:.1f}" width="{_WIDTH - 2 * _MARGIN}" height="{bottom - top:.1f}" '
                f'fill="{_LINE}" fill-opacity="0.12"/>'
            )
        dash = "" if name == "bias" else ' stroke-dasharray="5 4"'
        parts.append(f'<path d="M{_MARGIN} {y(value):.1f} H{_WIDTH - _MARGIN}" stroke="{_LINE}"{dash}/>')
        parts.append(f'<text x="{_WIDTH - _MARGIN + 4}" y="{y(value) + 4:.1f}">{value:+.0f} %</text>')
    parts.append(f'<path d="M{_MARGIN} {y(0):.1f} H{_WIDTH - _MARGIN}" stroke="#d5dce3"/>')
    parts += [
        f'<circle cx="{x(logarithm):.1f}" cy="{y(value):.1f}" r="3" fill="{_POINT}" fill-opacity="0.7"/>'
        for logarithm, value in zip(logs, difference, strict=True)
    ]
    for power in range(int(lowest), int(highest) + 1):
        parts.append(f'<text x="{x(power):.1f}" y="{_HEIGHT - 26}" text-anchor="middle">{10.0**power:g}</text>')
    parts.append(
        f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 8}" text-anchor="middle">mean volume, {unit}; '
        "vertical: difference in % of the mean</text></svg>"
    )
    return "".join(parts)
