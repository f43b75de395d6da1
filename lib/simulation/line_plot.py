"""Lines in a plot, as a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lib.storage.atomic import write_atomically

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 760, 420, 70, 20, 40, 50
_SCALE = 2  # drawn larger and shrunk, for smooth lines
_COLOURS = ("#7b8794", "#2f6fb0", "#d0743c", "#4a9a5b", "#8a5fa8")
_KEY_WIDTH = 190
_MOST_MARKS = 12  # of the vertical axis

Line = Sequence[tuple[float, float]]


def line_plot(lines: Mapping[str, Line], title: str, x_label: str, *, y_step: float) -> Image.Image:
    """Draw lines, such as Dice over effort, with their names.

    Args:
        lines: Points (x, y) of each line, by its name; those that are not finite are left out.
        title: Title, such as the data measured on.
        x_label: What x is, with its unit.
        y_step: Distance between the marks of the vertical axis; doubled until there are few enough.
    """
    lines = {name: [point for point in line if all(map(math.isfinite, point))] for name, line in lines.items()}
    image = Image.new("RGB", (_WIDTH * _SCALE, _HEIGHT * _SCALE), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size=14 * _SCALE)
    points = [point for line in lines.values() for point in line] or [(0.0, 0.0)]
    furthest = max(x for x, _ in points) or 1
    while max(y for _, y in points) - min(y for _, y in points) > (_MOST_MARKS - 2) * y_step:
        y_step *= 2
    low = y_step * (min(y for _, y in points) // y_step)
    high = y_step * (max(y for _, y in points) // y_step + 1)

    def place(x: float, y: float) -> tuple[float, float]:
        right = _LEFT + x / furthest * (_WIDTH - _LEFT - _RIGHT)
        down = _HEIGHT - _BOTTOM - (y - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)
        return right * _SCALE, down * _SCALE

    for index in range(round((high - low) / y_step) + 1):
        y = low + index * y_step
        draw.line([place(0, y), place(furthest, y)], fill="#e2e8f0", width=_SCALE)
        draw.text(place(0, y), f"{y:.2f}  ", "#52606d", font, anchor="rm")
    for mark in range(0, int(furthest) + 1, _tick(furthest)):
        right, down = place(mark, low)
        draw.text((right, down + 8 * _SCALE), str(mark), "#52606d", font, anchor="mt")
    draw.text((_WIDTH / 2 * _SCALE, (_HEIGHT - 8) * _SCALE), x_label, "#52606d", font, anchor="mb")
    draw.text((_LEFT * _SCALE, 10 * _SCALE), title, "#1b2733", font, anchor="lt")
    drawn = [[place(*point) for point in line] for line in lines.values()]
    left, first = _key_corner(drawn)
    for row, (name, line) in enumerate(zip(lines, drawn, strict=True)):
        colour = _COLOURS[row % len(_COLOURS)]
        if line:
            draw.line(line, fill=colour, width=3 * _SCALE, joint="curve")
        top = first + 20 * row * _SCALE
        draw.line([(left, top), (left + 24 * _SCALE, top)], fill=colour, width=3 * _SCALE)
        draw.text((left + 32 * _SCALE, top), name, "#1b2733", font, anchor="lm")
    return image.resize((_WIDTH, _HEIGHT), Image.Resampling.LANCZOS)


def _key_corner(drawn: Sequence[Line]) -> tuple[float, float]:
    """Return where the key begins, in the corner of the plot with the least of the lines in it, in drawn pixels."""
    height = 20 * len(drawn)
    places = np.concatenate([np.zeros((0, 2)), *map(_along, filter(None, drawn))])

    def covered(corner: tuple[float, float]) -> int:
        inside = (places >= np.subtract(corner, 10 * _SCALE)) & (
            places <= np.add(corner, (_KEY_WIDTH * _SCALE, height * _SCALE))
        )
        return int(inside.all(axis=1).sum())

    rows, columns = (_HEIGHT - _BOTTOM - height, _TOP + 14), (_WIDTH - _KEY_WIDTH, _LEFT + 10)
    return min(((x * _SCALE, y * _SCALE) for y in rows for x in columns), key=covered)


def _along(line: Line) -> np.ndarray:
    """Return points close to each other on a line, (n, 2)."""
    points = np.array(line)
    steps = np.linspace(0, len(points) - 1, 100 * len(points))
    return np.stack([np.interp(steps, np.arange(len(points)), axis) for axis in points.T], axis=1)


def write_plots(plots: Sequence[Image.Image], path: Path) -> None:
    """Write plots beside each other as a PNG of few colours."""
    image = Image.new("RGB", (sum(plot.width for plot in plots), max(plot.height for plot in plots)), "white")
    left = 0
    for plot in plots:
        image.paste(plot, (left, 0))
        left += plot.width
    small = image.quantize(64)
    write_atomically(path, lambda part: small.save(part, "PNG", optimize=True))


def _tick(furthest: float) -> int:
    """Return a round distance of marks on the horizontal axis, so that there are at most ten."""
    steps = (round(digit * 10**power) for power in range(6) for digit in (1, 2, 5))
    return next((step for step in steps if furthest / step <= 10), 10**6)
