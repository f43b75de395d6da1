"""FROC: lesions found against false positives per scan, over the accepted false findings per scan."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from lib.evaluation.metrics import MatchedLesion

LIMITS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # false findings per scan, as in the LUNA16 challenge
_WIDTH, _HEIGHT, _MARGIN = 640, 320, 48
_COLOURS = ("#2f6fb0", "#d0743c", "#4a9a5b", "#8a5fa8", "#9aa7b4")

LesionMatches = tuple[list[MatchedLesion], int]  # lesions of the ground truth, and the number of false positives


def operating_points(cases: Sequence[Mapping[float, LesionMatches]]) -> list[dict[str, Any]]:
    """Return the operating point of each limit.

    Args:
        cases: For each image, its findings by ``false_findings_per_scan``.

    Returns:
        For each limit ``false_findings_per_scan``, ``lesion_recall``, ``small_tumor_recall`` and ``lesion_dice`` (None
        without such lesions), and ``false_positives_per_scan``.
    """
    points = []
    for limit in cases[0] if cases else ():
        lesions = [lesion for case in cases for lesion in case[limit][0]]
        points.append(
            {
                "false_findings_per_scan": limit,
                "lesion_recall": _mean([lesion.hit for lesion in lesions]),
                "small_tumor_recall": _mean([lesion.hit for lesion in lesions if lesion.small]),
                "lesion_dice": _mean([lesion.dice for lesion in lesions]),
                "false_positives_per_scan": _mean([case[limit][1] for case in cases]),
            }
        )
    return points


def froc_curve(models: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Return the FROC curves as an SVG element: sensitivity over log(1 + false positives per scan).

    Args:
        models: Operating points by name of the model.
    """
    most = max((point["false_positives_per_scan"] for points in models.values() for point in points), default=1)
    widest = np.log1p(max(most, 1))

    def place(point: Mapping[str, Any]) -> str:
        x = _MARGIN + np.log1p(point["false_positives_per_scan"]) / widest * (_WIDTH - 2 * _MARGIN)
        return f"{x:.1f},{_HEIGHT - _MARGIN - point['lesion_recall'] * (_HEIGHT - 2 * _MARGIN):.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img" '
        'aria-label="FROC curve" font-family="sans-serif" font-size="12" fill="#52606d">'
        '<rect width="100%" height="100%" fill="white"/>'
    ]
    for fifth in range(6):
        low, high = (
            place({"false_positives_per_scan": end, "lesion_recall": fifth / 5}) for end in (0, np.expm1(widest))
        )
        x, y = low.split(",")
        parts.append(f'<path d="M{low} L{high}" stroke="#e2e8f0"/>')
        parts.append(f'<text x="{x}" y="{y}" dx="-8" dy="4" text-anchor="end">{fifth / 5:.1f}</text>')
    for findings in (0, 1, 2, 4, 8, 16, 32, 64, 128, 256):
        if np.log1p(findings) <= widest:
            x, y = place({"false_positives_per_scan": findings, "lesion_recall": 0}).split(",")
            parts.append(f'<text x="{x}" y="{y}" dy="16" text-anchor="middle">{findings}</text>')
    for number, (name, points) in enumerate(models.items()):
        model = escape(name)
        colour = _COLOURS[number % len(_COLOURS)]
        shown = [point for point in points if point["lesion_recall"] is not None]
        path = " ".join(place(point) for point in shown)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for point in shown:
            x, y = place(point).split(",")
            parts.append(
                f'<circle cx="{x}" cy="{y}" r="3.5" fill="{colour}">'
                f"<title>{model}, limit {point['false_findings_per_scan']}</title></circle>"
            )
        parts.append(f'<text x="{_MARGIN + 130 * number}" y="16" fill="{colour}">{model}</text>')
    parts.append(
        f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 10}" text-anchor="middle">false positives per scan; '
        "vertical: share of lesions found (IoU of at least 0.3)</text></svg>"
    )
    return "".join(parts)


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None
