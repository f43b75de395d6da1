"""``report.html`` of simulated clicks: the curve, tables by size, texture and plane, and examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from lib.evaluation.report import STYLE
from lib.evaluation.tables import html_table, number, with_interval

_COLOURS = ("#2f6fb0", "#d0743c", "#4a9a5b", "#8a5fa8", "#9aa7b4", "#b05a7a", "#5a6672", "#c9a227")
_WIDTH, _HEIGHT, _MARGIN = 640, 320, 48
_LOWEST = 0.5


def render_clicks(measured_on: str, models: Mapping[str, Mapping[str, Any]], shown: Sequence[Mapping[str, str]]) -> str:
    """Return the HTML page.

    Args:
        measured_on: Description of the images, in a sentence.
        models: Summary of each model.
        shown: Examples, each with ``title`` and ``strip`` (data URL).
    """
    parts = [
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>LungLabel: clicks</title>'
        f"<style>{STYLE}</style><h1>LungLabel: outlines from clicks</h1><p>{escape(measured_on)}</p>"
        '<p class="note">Research use only, not a medical device. Clicks are simulated: the first one on the lesion, '
        "each further one in the largest region that is wrong. Intervals are 95 %, by bootstrap over the patients.</p>"
    ]
    for model, summary in models.items():
        parts.append(f"<h2>{escape(model)}</h2>{click_curves(summary['curves'])}{_table(summary)}{_facts(summary)}")
    if shown:
        parts.append("<h2>Examples</h2><p>Image, consensus (green), then the outline after each click (red).</p>")
    for example in shown:
        title = escape(example["title"])
        parts.append(f'<figure><img src="{example["strip"]}" alt="{title}"><figcaption>{title}</figcaption></figure>')
    return "\n".join(parts) + "</html>\n"


def click_curves(curves: Sequence[Mapping[str, Any]]) -> str:
    """Return the mean Dice over clicks as an SVG element, a line for each group of lesions.

    Args:
        curves: Entries ``lesions`` (title) and ``dice`` (after 1, 2 … clicks).
    """
    clicks = max(len(curve["dice"]) for curve in curves)

    def place(click: int, dice: float) -> tuple[float, float]:
        x = _MARGIN + (click - 1) / max(clicks - 1, 1) * (_WIDTH - 5 * _MARGIN)
        return x, _HEIGHT - _MARGIN - (max(dice, _LOWEST) - _LOWEST) / (1 - _LOWEST) * (_HEIGHT - 2 * _MARGIN)

    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img" aria-label="Dice over clicks" '
        'font-family="sans-serif" font-size="12" fill="#52606d">'
    ]
    for tenth in range(round(10 * _LOWEST), 11):
        x, y = place(1, tenth / 10)
        right, _ = place(clicks, 0)
        parts.append(f'<path d="M{x:.1f},{y:.1f} H{right:.1f}" stroke="#e2e8f0"/>')
        parts.append(f'<text x="{x - 8:.1f}" y="{y + 4:.1f}" text-anchor="end">{tenth / 10:.1f}</text>')
    for click in range(1, clicks + 1):
        x, _ = place(click, 0)
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - _MARGIN + 18}" text-anchor="middle">{click}</text>')
    for index, curve in enumerate(curves):
        colour = _COLOURS[index % len(_COLOURS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(n, d) for n, d in enumerate(curve["dice"], start=1)))
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{3 if not index else 1.5}"/>'
        )
        label = f"{curve['lesions']}: {curve['dice'][-1]:.2f}"
        x, y = place(clicks, 1)
        parts.append(f'<text x="{x + 10:.1f}" y="{y + 16 * index:.1f}" fill="{colour}">{escape(label)}</text>')
    middle, bottom = _WIDTH / 2 - _MARGIN, _HEIGHT - 8
    parts.append(f'<text x="{middle}" y="{bottom}" text-anchor="middle">clicks (mean Dice after each)</text></svg>')
    return "".join(parts)


def _table(summary: Mapping[str, Any]) -> str:
    rows = [
        (
            curve["lesions"],
            curve["n"],
            *map(with_interval, curve["dice"], curve["interval_95"]),
            f"{curve['clicks_until_goal']:.2f}",
            f"{100 * curve['reached_goal']:.0f} %",
        )
        for curve in (*summary["curves"], *summary["planes"])
    ]
    clicks = len(summary["curves"][0]["dice"])
    heads = [f"Dice after {n} click{'s' if n > 1 else ''}" for n in range(1, clicks + 1)]
    goal = summary["goal"]
    head = ("Lesions", "n", *heads, f"clicks until {goal}", f"reached {goal}")
    return html_table(f"Mean Dice with the consensus after each click ({clicks + 1} clicks: not reached)", head, rows)


def _facts(summary: Mapping[str, Any]) -> str:
    seconds = summary["seconds"]
    return (
        f"<p>Outlined (IoU of 0.3 or more) after one click: {number(summary['outlined_after_one_click'])} of the "
        f"lesions. Standard deviation of Dice over places of the first click: "
        f"{number(summary['spread_of_first_click'])}. One outline: median {seconds['median']:.2f} s, 95th percentile "
        f"{seconds['percentile_95']:.2f} s on this machine.</p>"
    )
