"""Picture of the mask, the probability and the attention map side by side."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from lib.geometry.connected_components import connected_components

PANEL_PX = 320
BAR_PX = 26
_ROWS = 4
_CLOSE_UP_MM = 64
_WINDOW_HU = (-1000, 400)
_MASK_COLOUR = (255, 90, 60)
_STOPS = np.array([[20, 20, 90], [30, 160, 160], [240, 200, 60], [230, 40, 30]], float)  # attention 0 to 1


def attention_picture(
    hu: np.ndarray,
    mask: np.ndarray,
    probability: np.ndarray,
    attention: np.ndarray,
    spacing: Sequence[float] = (1, 1, 1),
) -> bytes:
    """Return a PNG with a row per lesion, for the largest ones: its slice, then close up outline and both maps.

    Args:
        hu: CT in HU, shape (X, Y, Z), axes L, P, S.
        mask: Same shape, 0 and 1. Without a lesion, the most probable voxel is shown.
        probability: Same shape, of tumour, in [0, 1]; overlaid in colour, dark blue 0, red 1.
        attention: Same shape, coefficients in [0, 1] (eq. 6); overlaid in the same colours.
        spacing: Voxel spacing in mm.
    """
    rows = [_legend()]
    for place, volume in _places(mask, probability):
        z = place[2]
        found = f"slice {z + 1} from the feet" + (f": {volume * np.prod(spacing) / 1000:.2f} ml" if volume else "")
        whole = _Section(spacing, (np.array(hu.shape[:2]) - 1) / 2, max(hu.shape[:2] * np.array(spacing[:2])))
        near = _Section(spacing, np.array(place[:2]), _CLOSE_UP_MM)
        panels = [
            whole.outlined(hu[..., z], mask[..., z]),
            near.outlined(hu[..., z], mask[..., z]),
            near.coloured(hu[..., z], probability[..., z]),
            near.coloured(hu[..., z], attention[..., z]),
        ]
        names = (found, f"close up, {_CLOSE_UP_MM} mm wide", "probability of tumour", "attention")
        rows += [_captions(names), np.concatenate(panels, axis=1)]
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(rows)).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _places(mask: np.ndarray, probability: np.ndarray) -> list[tuple[tuple[int, int, int], int]]:
    """Return the centre of the largest section and the number of voxels of the largest lesions, from feet to head."""
    lesions, count = connected_components(mask)
    if count == 0:
        i, j, k = np.unravel_index(probability.argmax(), probability.shape)
        return [((int(i), int(j), int(k)), 0)]
    sizes = np.bincount(lesions.ravel())[1:]
    places = []
    for lesion in np.argsort(sizes)[::-1][:_ROWS]:
        voxels = lesions == lesion + 1
        z = int(voxels.sum((0, 1)).argmax())
        x, y = np.argwhere(voxels[..., z]).mean(axis=0)
        places.append(((int(x), int(y), z), int(sizes[lesion])))
    return sorted(places, key=lambda place: place[0][2])


class _Section:
    """A square part of axial planes (X, Y), shown as RGB panels.

    Args:
        spacing: Voxel spacing in mm.
        middle: Its middle, in voxels.
        width_mm: Its width.
    """

    def __init__(self, spacing: Sequence[float], middle: np.ndarray, width_mm: float) -> None:
        self._scale = width_mm / PANEL_PX / np.array(spacing[1::-1])  # voxels in one pixel, along rows and columns
        self._offset = middle[::-1] - self._scale * (PANEL_PX - 1) / 2

    def outlined(self, hu: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """Return the CT with the outline of a mask."""
        panel = self._plain(hu)
        inside = self._view(mask > 0, 0, 0) > 0
        panel[inside ^ ndimage.binary_erosion(inside, iterations=2)] = _MASK_COLOUR
        return panel

    def coloured(self, hu: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Return the CT with values from 0 to 1 in colour over it."""
        return (0.55 * self._plain(hu) + 0.45 * _colours(self._view(values, 1, 0))).astype(np.uint8)

    def _plain(self, hu: np.ndarray) -> np.ndarray:
        grey = np.interp(self._view(hu, 1, _WINDOW_HU[0]), _WINDOW_HU, (0, 255))
        return np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)

    def _view(self, plane: np.ndarray, order: int, outside: float) -> np.ndarray:
        plane = plane.T.astype(np.float32)
        shape = (PANEL_PX, PANEL_PX)
        return ndimage.affine_transform(plane, np.diag(self._scale), self._offset, shape, order=order, cval=outside)


def _colours(weights: np.ndarray) -> np.ndarray:
    """Map values in [0, 1] to RGB: dark blue, green, yellow, red."""
    return np.stack([np.interp(weights, np.linspace(0, 1, len(_STOPS)), _STOPS[:, c]) for c in range(3)], axis=-1)


def _legend() -> np.ndarray:
    bar = _captions(("the mask is outlined in red", "maps, from 0 to 1:", "", ""))
    ramp = np.linspace(0, 1, PANEL_PX)
    bar[6:-6, 2 * PANEL_PX : 3 * PANEL_PX] = _colours(ramp)
    return bar


def _captions(texts: Sequence[str]) -> np.ndarray:
    """Return a bar (rows, columns, RGB) with a text above each panel."""
    bar = Image.new("RGB", (len(texts) * PANEL_PX, BAR_PX))
    draw = ImageDraw.Draw(bar)
    for column, text in enumerate(texts):
        draw.text((column * PANEL_PX + 8, 4), text, fill=(255, 255, 255), font=ImageFont.load_default(15))
    return np.array(bar)
