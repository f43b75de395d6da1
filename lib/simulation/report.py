"""Learning curves as a picture and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from lib.simulation.comparison import BASELINE, beats_random
from lib.storage.atomic import write_atomically

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 760, 420, 70, 20, 40, 50
_SCALE = 2  # drawn larger and shrunk, for smooth lines
_COLOURS = ("#7b8794", "#2f6fb0", "#d0743c", "#4a9a5b", "#8a5fa8")
_STEP = 0.05

Curves = Mapping[str, Mapping[str, Any]]


def write_plot(curves: Curves, title: str, path: Path) -> None:
    """Plot Dice against labels as a PNG, one line per strategy with its spread over seeds as thin bars.

    Args:
        curves: Result of `compare`.
        title: Title, such as the data measured on.
        path: Path of the file.
    """
    image = Image.new("RGB", (_WIDTH * _SCALE, _HEIGHT * _SCALE), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size=14 * _SCALE)
    labels = next(iter(curves.values()))["labels"]
    ends = [
        dice + side * spread
        for curve in curves.values()
        for dice, spread in zip(curve["dice"], curve["spread"], strict=True)
        for side in (-1, 1)
    ]
    low, high = _STEP * (min(ends) // _STEP), _STEP * (max(ends) // _STEP + 1)

    def place(count: float, dice: float) -> tuple[float, float]:
        x = _LEFT + (count - labels[0]) / max(labels[-1] - labels[0], 1) * (_WIDTH - _LEFT - _RIGHT)
        y = _HEIGHT - _BOTTOM - (dice - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)
        return x * _SCALE, y * _SCALE

    for index in range(round((high - low) / _STEP) + 1):
        dice = low + index * _STEP
        draw.line([place(labels[0], dice), place(labels[-1], dice)], fill="#e2e8f0", width=_SCALE)
        draw.text(place(labels[0], dice), f"{dice:.2f}  ", "#52606d", font, anchor="rm")
    for count in labels:
        x, y = place(count, low)
        draw.text((x, y + 8 * _SCALE), str(count), "#52606d", font, anchor="mt")
    draw.text((_WIDTH / 2 * _SCALE, (_HEIGHT - 8) * _SCALE), "labelled cases", "#52606d", font, anchor="mb")
    draw.text((_LEFT * _SCALE, 10 * _SCALE), title, "#1b2733", font, anchor="lt")
    for row, (strategy, curve) in enumerate(curves.items()):
        colour, shift = _COLOURS[row % len(_COLOURS)], 3 * _SCALE * (row - (len(curves) - 1) / 2)
        points = [place(*pair) for pair in zip(labels, curve["dice"], strict=True)]
        for (x, _), count, dice, spread in zip(points, labels, curve["dice"], curve["spread"], strict=True):
            bar = [(x + shift, place(count, dice + side * spread)[1]) for side in (-1, 1)]
            draw.line(bar, fill=colour, width=_SCALE)
        draw.line(points, fill=colour, width=3 * _SCALE, joint="curve")
        left, top = (_WIDTH - 190) * _SCALE, (_HEIGHT - _BOTTOM - 20 * (len(curves) - row)) * _SCALE
        draw.line([(left, top), (left + 24 * _SCALE, top)], fill=colour, width=3 * _SCALE)
        draw.text((left + 32 * _SCALE, top), strategy, "#1b2733", font, anchor="lm")
    small = image.resize((_WIDTH, _HEIGHT), Image.Resampling.LANCZOS).quantize(64)
    write_atomically(path, lambda part: small.save(part, optimize=True))


def table(curves: Curves) -> str:
    """Return a Markdown table: Dice at the start, half way and at the end, and the gain over random."""
    labels = next(iter(curves.values()))["labels"]
    shown = sorted({0, len(labels) // 2, len(labels) - 1})
    head = ["strategy", *(f"Dice with {labels[index]} labels" for index in shown), "gain over random", "95 % interval"]
    rows = [head, ["---"] * len(head)]
    for strategy, curve in curves.items():
        dice = [f"{curve['dice'][index]:.3f} ± {curve['spread'][index]:.3f}" for index in shown]
        rows.append([strategy, *dice, *_gain(curve.get("mean_gain"))])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def sentences(curves: Curves) -> list[str]:
    """Return the result of each strategy as a sentence."""
    result = []
    for strategy, curve in curves.items():
        if strategy == BASELINE or "mean_gain" not in curve:
            continue
        value, interval = curve["mean_gain"]["value"], curve["mean_gain"]["interval_95"]
        if interval is None:
            result.append(f"{strategy}: {value:+.3f} Dice against random with one seed, which is inconclusive.")
            continue
        verdict = (
            "beats random"
            if beats_random(curve)
            else "is worse than random"
            if interval[1] < 0
            else "is not shown to differ from random"
        )
        result.append(f"{strategy} {verdict}: {value:+.3f} Dice ({interval[0]:+.3f} to {interval[1]:+.3f}).")
    return result


def _gain(gain: Mapping[str, Any] | None) -> list[str]:
    if gain is None:
        return ["", ""]
    interval = gain["interval_95"]
    return [f"{gain['value']:+.3f}", f"{interval[0]:+.3f} to {interval[1]:+.3f}" if interval else "one seed"]
