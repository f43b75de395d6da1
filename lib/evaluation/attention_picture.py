"""Mask and attention map side by side, as a picture for people."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

_WINDOW_HU = (-1000, 400)
_PANEL_PX = 320
_ROWS = 4
_MASK_COLOUR = (255, 90, 60)


def attention_picture(hu: np.ndarray, mask: np.ndarray, attention: np.ndarray) -> bytes:
    """A PNG of the axial slices with the largest lesions: image, mask, attention map.

    Args:
        hu: Shape (X, Y, Z), axes L, P, S.
        mask: Same shape, 0 and 1. Without any lesion the slice with the highest attention is shown.
        attention: Same shape, coefficients in [0, 1] (eq. 6); shown as colour over the image, dark blue 0, red 1.
    """
    rows = []
    for z in _slices(mask, attention):
        grey = np.clip((hu[..., z] - _WINDOW_HU[0]) / (_WINDOW_HU[1] - _WINDOW_HU[0]) * 255, 0, 255).astype(np.uint8)
        image = _enlarged(grey, Image.Resampling.BILINEAR)
        outline = _enlarged((mask[..., z] > 0).astype(np.uint8), Image.Resampling.NEAREST) > 0
        outline ^= ndimage.binary_erosion(outline, iterations=2)
        weights = _enlarged((attention[..., z] * 255).astype(np.uint8), Image.Resampling.BILINEAR) / 255
        plain = np.repeat(image[..., None], 3, axis=2)
        masked = plain.copy()
        masked[outline] = _MASK_COLOUR
        coloured = (0.55 * plain + 0.45 * _colours(weights)).astype(np.uint8)
        rows.append(_captioned(np.concatenate([plain, masked, coloured], axis=1), f"slice {z + 1} of {mask.shape[2]}"))
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(rows)).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _slices(mask: np.ndarray, attention: np.ndarray) -> list[int]:
    """The middle slice of each of the largest lesions, from feet to head."""
    lesions, count = ndimage.label(mask)
    if count == 0:
        return [int(attention.max(axis=(0, 1)).argmax())]
    sizes = ndimage.sum_labels(mask, lesions, range(1, count + 1))
    largest = np.argsort(sizes)[::-1][:_ROWS] + 1
    return sorted({int((lesions == lesion).sum((0, 1)).argmax()) for lesion in largest})


def _enlarged(plane: np.ndarray, resampling: Image.Resampling) -> np.ndarray:
    """An axial plane (X, Y) as a picture with rows from front to back."""
    return np.array(Image.fromarray(plane.T).resize((_PANEL_PX, _PANEL_PX), resampling))


def _colours(weights: np.ndarray) -> np.ndarray:
    """From 0, dark blue, over green to 1, red."""
    stops = np.array([[20, 20, 90], [30, 160, 160], [240, 200, 60], [230, 40, 30]], float)
    return np.stack([np.interp(weights, np.linspace(0, 1, len(stops)), stops[:, c]) for c in range(3)], axis=-1)


def _captioned(pixels: np.ndarray, text: str) -> np.ndarray:
    picture = Image.fromarray(pixels)
    draw = ImageDraw.Draw(picture)
    for column, caption in enumerate((text, "mask", "attention, 0 to 1")):
        draw.text((column * _PANEL_PX + 8, 6), caption, fill=(255, 255, 255))
    return np.array(picture)
