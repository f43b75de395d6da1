"""Figures of the report, embedded so that the page works offline."""

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from PIL import Image, ImageOps
from scipy import ndimage

_WINDOW_HU = (-1000, 400)
SIDE_PX = 320
"""Side of the picture of a slice."""
_REACH_MM = 40.0
_CHART_PX, _BAR_PX, _LETTER_PX = 260, 34, 7
_LEGEND_LINE_PX, _MARK_PX, _NARROWEST_CHART_PX = 20, 18, 600
_COLOURS = ("#9aa7b4", "#2f6fb0", "#d0743c", "#4a9a5b", "#8a5fa8")
Colour = tuple[int, int, int]
TRUTH_COLOUR: Colour = (80, 220, 100)
FOUND_COLOUR: Colour = (255, 90, 60)


def slice_strip(
    image: np.ndarray, truth: np.ndarray, found: Mapping[str, np.ndarray], spacing: tuple[float, float, float]
) -> str:
    """Return the paper's Fig. 2 for one case: image, ground truth and each model side by side.

    It shows 8 cm of the axial slice with the largest area of the ground truth, or of the predictions if that is empty.

    Args:
        image: CT in HU, shape (X, Y, Z), axes L, P, S.
        truth: Mask, same shape.
        found: Mask of each model, same shape.
        spacing: Voxel spacing in mm.

    Returns:
        A PNG as data URL.
    """
    target = truth if truth.any() else np.any(list(found.values()), axis=0)
    z = int(target.sum((0, 1)).argmax())
    masks = [(truth, TRUTH_COLOUR), *((mask, FOUND_COLOUR) for mask in found.values())]
    panels = [outlined_slice(image, z, target, spacing, one) for one in ([], *([pair] for pair in masks))]
    return _data_url(np.concatenate(panels, axis=1))


def outlined_slice(
    image: np.ndarray,
    z: int,
    target: np.ndarray,
    spacing: Sequence[float],
    outlines: Sequence[tuple[np.ndarray, Colour]],
) -> np.ndarray:
    """Return 8 cm of an axial slice around a target, with outlines: RGB, uint8, rows from anterior to posterior.

    Args:
        image: CT in HU, shape (X, Y, Z), axes L, P, S.
        z: The slice.
        target: Mask, same shape; if it is empty in the slice, the middle of the slice is shown.
        spacing: Voxel spacing in mm.
        outlines: Masks of the same shape, each with its colour; later ones are drawn over earlier ones.
    """
    centre = ndimage.center_of_mass(target[..., z]) if target[..., z].any() else np.array(target.shape[:2]) / 2
    window = tuple(
        slice(max(int(middle - _REACH_MM / length), 0), int(middle + _REACH_MM / length) + 1)
        for middle, length in zip(centre, spacing, strict=False)
    )
    low, high = _WINDOW_HU
    grey = np.clip((image[..., z][window] - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    pixels = np.array(_square(grey, spacing, Image.Resampling.BICUBIC).convert("RGB"))
    for mask, colour in outlines:
        area = np.array(_square(mask[..., z][window].astype(np.uint8), spacing, Image.Resampling.NEAREST)) > 0
        pixels[area ^ ndimage.binary_erosion(area, iterations=2)] = colour
    return pixels


def _square(pixels: np.ndarray, spacing: Sequence[float], resampling: Image.Resampling) -> Image.Image:
    """Return a slice (X, Y) as a square picture; what is not square, at the edge of an image, is padded."""
    sides = [count * mm for count, mm in zip(pixels.shape, spacing, strict=False)]
    width, height = (max(1, round(SIDE_PX * side / max(sides))) for side in sides)
    return ImageOps.pad(Image.fromarray(pixels.T).resize((width, height), resampling), (SIDE_PX, SIDE_PX))


def bar_chart(
    values: Mapping[str, Mapping[str, float | None]],
    intervals: Mapping[str, Mapping[str, Sequence[float] | None]] | None = None,
) -> str:
    """Return a chart as in the paper's Fig. 3: a group of bars per measure, a bar per model.

    Args:
        values: Value in [0, 1] by measure and model.
        intervals: Ends of the interval of each value, where it has one.

    Returns:
        An SVG element.
    """
    models = list(next(iter(values.values())))
    gap = 30
    group = gap + max(_BAR_PX * len(models), _LETTER_PX * max(map(len, values)))
    width = max(group * len(values) + gap, _NARROWEST_CHART_PX)
    places = _legend_places(models, gap, width)
    height = _CHART_PX + 60 + _LEGEND_LINE_PX * places[-1][1]
    parts = [
        f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="Bar chart" '
        'font-family="system-ui, sans-serif" fill="#1d2733">'
    ]
    for column, (measure, scores) in enumerate(values.items()):
        x = gap + column * group
        for row, model in enumerate(models):
            value = scores[model]
            if value is not None:
                interval = (intervals or {}).get(measure, {}).get(model)
                parts.append(_bar(x + row * _BAR_PX, model, value, interval, _COLOURS[row % len(_COLOURS)]))
        parts.append(f'<text x="{x}" y="{_CHART_PX + 16}" font-size="12">{escape(measure)}</text>')
    for row, (model, (left, line)) in enumerate(zip(models, places, strict=True)):
        top = _CHART_PX + 34 + _LEGEND_LINE_PX * line
        parts.append(
            f'<rect x="{left}" y="{top}" width="12" height="12" fill="{_COLOURS[row % len(_COLOURS)]}"/>'
            f'<text x="{left + _MARK_PX}" y="{top + 11}" font-size="12">{escape(model)}</text>'
        )
    return "".join(parts) + "</svg>"


def _legend_places(names: Sequence[str], gap: int, width: int) -> list[tuple[int, int]]:
    """Return the left end, px, and the line of each entry of a legend, broken into lines that fit."""
    places: list[tuple[int, int]] = []
    left, line = gap, 0
    for name in names:
        wanted = _MARK_PX + _LETTER_PX * len(name)
        if left > gap and left + wanted > width:
            left, line = gap, line + 1
        places.append((left, line))
        left += wanted + gap
    return places


def _bar(left: int, model: str, value: float, interval: Sequence[float] | None, colour: str) -> str:
    """Return a bar with its value above it, and a line from end to end of the interval."""

    def height(of: float) -> float:
        return of * (_CHART_PX - 20)

    width = _BAR_PX - 4
    low, high = (_CHART_PX - height(end) for end in interval or (value, value))
    return (
        f'<rect x="{left}" y="{_CHART_PX - height(value):.1f}" width="{width}" height="{height(value):.1f}" '
        f'fill="{colour}"><title>{escape(model)}: {value:.3f}</title></rect>'
        f'<text x="{left}" y="{high - 4:.1f}" font-size="10">{value:.2f}</text>'
        + (f'<path d="M{left + width / 2:g} {low:.1f} V{high:.1f}" stroke="#1d2733"/>' if interval else "")
    )


def _data_url(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
