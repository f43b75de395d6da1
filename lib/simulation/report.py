"""Learning curves over effort as a picture, and a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from lib.simulation.comparison import beats_random
from lib.storage.atomic import write_atomically

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 760, 420, 70, 20, 40, 50
_SCALE = 2  # drawn larger and shrunk, for smooth lines
_COLOURS = ("#7b8794", "#2f6fb0", "#d0743c", "#4a9a5b", "#8a5fa8")
_STEP = 0.05

Curves = Mapping[str, Mapping[str, Any]]


def write_plot(curves: Curves, title: str, path: Path) -> None:
    """Plot the mean Dice against effort as a PNG, one line per strategy.

    Args:
        curves: Result of `compare`.
        title: Title, such as the data measured on.
        path: Path of the file.
    """
    image = Image.new("RGB", (_WIDTH * _SCALE, _HEIGHT * _SCALE), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size=14 * _SCALE)
    furthest = max(curve["effort"][-1] for curve in curves.values()) or 1
    values = [dice for curve in curves.values() for dice in curve["dice_over_effort"]]
    low, high = _STEP * (min(values) // _STEP), _STEP * (max(values) // _STEP + 1)

    def place(effort: float, dice: float) -> tuple[float, float]:
        x = _LEFT + effort / furthest * (_WIDTH - _LEFT - _RIGHT)
        y = _HEIGHT - _BOTTOM - (dice - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)
        return x * _SCALE, y * _SCALE

    for index in range(round((high - low) / _STEP) + 1):
        dice = low + index * _STEP
        draw.line([place(0, dice), place(furthest, dice)], fill="#e2e8f0", width=_SCALE)
        draw.text(place(0, dice), f"{dice:.2f}  ", "#52606d", font, anchor="rm")
    for effort in range(0, int(furthest) + 1, _tick(furthest)):
        x, y = place(effort, low)
        draw.text((x, y + 8 * _SCALE), str(effort), "#52606d", font, anchor="mt")
    draw.text((_WIDTH / 2 * _SCALE, (_HEIGHT - 8) * _SCALE), "effort in strokes", "#52606d", font, anchor="mb")
    draw.text((_LEFT * _SCALE, 10 * _SCALE), title, "#1b2733", font, anchor="lt")
    for row, (strategy, curve) in enumerate(curves.items()):
        colour = _COLOURS[row % len(_COLOURS)]
        points = [place(*pair) for pair in zip(curve["effort"], curve["dice_over_effort"], strict=True)]
        draw.line(points, fill=colour, width=3 * _SCALE, joint="curve")
        left, top = (_WIDTH - 190) * _SCALE, (_HEIGHT - _BOTTOM - 20 * (len(curves) - row)) * _SCALE
        draw.line([(left, top), (left + 24 * _SCALE, top)], fill=colour, width=3 * _SCALE)
        draw.text((left + 32 * _SCALE, top), strategy, "#1b2733", font, anchor="lm")
    small = image.resize((_WIDTH, _HEIGHT), Image.Resampling.LANCZOS).quantize(64)
    write_atomically(path, lambda part: small.save(part, optimize=True))


def table(curves: Curves) -> str:
    """Return a Markdown table: Dice at the start and at the end, strokes, and the gain over random."""
    labels = next(iter(curves.values()))["labels"]
    head = ["strategy", *(f"Dice with {count} labels" for count in (labels[0], labels[-1])), "strokes a case"]
    head += ["gain over random by labels", "by effort"]
    rows = [head, ["---"] * len(head)]
    for strategy, curve in curves.items():
        dice = [f"{curve['dice'][index]:.3f} ± {curve['spread'][index]:.3f}" for index in (0, -1)]
        gains = [_gain(curve.get(name)) for name in ("mean_gain", "effort_gain")]
        rows.append([strategy, *dice, f"{curve['strokes_per_case']:.1f}", *gains])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def sentences(curves: Curves) -> list[str]:
    """Return the result of each strategy, by effort, as a sentence."""
    result = []
    for strategy, curve in curves.items():
        gain = curve.get("effort_gain")
        if gain is None:
            continue
        if gain["interval_95"] is None:
            verdict = "was compared with random with one seed, which is inconclusive"
        elif beats_random(curve):
            verdict = "beats random"
        elif gain["interval_95"][1] < 0:
            verdict = "is worse than random"
        else:
            verdict = "is not shown to differ from random"
        result.append(f"{strategy} {verdict}: {_gain(gain)} Dice at equal effort.")
    return result


def _tick(furthest: float) -> int:
    """Return a round distance of marks on the axis of effort, so that there are at most ten."""
    steps = (round(digit * 10**power) for power in range(6) for digit in (1, 2, 5))
    return next((step for step in steps if furthest / step <= 10), 10**6)


def _gain(gain: Mapping[str, Any] | None) -> str:
    if gain is None:
        return ""
    interval = gain["interval_95"]
    return f"{gain['value']:+.3f} ({f'{interval[0]:+.3f} to {interval[1]:+.3f}' if interval else 'one seed'})"
