"""Reader of slices and masks stored as PNG, JPEG or TIFF pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from lib.errors import UserError

_JPEG = (".jpg", ".jpeg")
_JPEG_COLOUR_NOISE = 12
_JPEG_BLACK_OR_WHITE = 128


def read_grey(path: Path) -> np.ndarray:
    """Read the grey levels of a picture (row, column), uint8 or uint16; RGB is accepted if all pixels are grey.

    Raises:
        UserError: The picture cannot be read, or has coloured pixels.
    """
    channels = _read(path)
    if channels.shape[-1] > 1:
        spread = int((channels.max(-1).astype(int) - channels.min(-1).astype(int)).max())
        if spread > (_JPEG_COLOUR_NOISE if path.suffix.lower() in _JPEG else 0):
            raise UserError(f"{path.name} is a colour picture; its colours cannot be turned into HU")
    return channels[..., 0]


def read_mask(path: Path, value: int | None) -> np.ndarray:
    """Read a mask (row, column), bool.

    Args:
        path: A picture with black and one other value or colour; a JPEG is thresholded at half of white.
        value: Grey level of the marked pixels; None: all pixels that are not black.

    Raises:
        UserError: The picture cannot be read, or has several values and none was selected.
    """
    channels = _read(path)
    if value is not None:
        return (channels == value).all(-1)
    if path.suffix.lower() in _JPEG:
        brightest = channels.max(-1)
        if 0 < brightest.max() < _JPEG_BLACK_OR_WHITE:
            raise UserError(
                f"the mask {path.name} is a JPEG with values up to {brightest.max()} instead of 0 and 255 (black and "
                "white): compression may have changed them. Masks must be PNG, or JPEG in black and white"
            )
        return brightest >= _JPEG_BLACK_OR_WHITE
    colours = np.unique(channels.reshape(-1, channels.shape[-1]), axis=0)
    marked = [tuple(colour) for colour in colours.tolist() if any(colour)]
    if len(marked) > 1:
        values = ", ".join(str(colour[0] if len(set(colour)) == 1 else colour) for colour in marked[:5])
        raise UserError(
            f"the mask {path.name} has the values {values}{' …' if len(marked) > 5 else ''}. "
            "Select the tumour with --mask-value NUMBER"
        )
    return channels.any(-1)


def picture_size(path: Path) -> tuple[int, int]:
    """Return rows and columns of a picture, without reading the pixels.

    Raises:
        UserError: The picture cannot be read.
    """
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        raise UserError(f"{path.name} cannot be read as a picture; it is damaged or of another kind") from None
    columns, rows = reader.GetSize()[:2]
    return rows, columns


def _read(path: Path) -> np.ndarray:
    """Read the channels (row, column, channel), without the alpha channel; pixels that it hides are black."""
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError:
        raise UserError(f"{path.name} cannot be read as a picture; it is damaged or of another kind") from None
    pixels = sitk.GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() == 1:
        pixels = pixels[..., None]
    if image.GetDimension() != 2 or pixels.dtype not in (np.uint8, np.uint16):
        raise UserError(
            f"{path.name} is not a 2D picture of 8 or 16 bits: {pixels.dtype}, {image.GetDimension()} dimensions"
        )
    if pixels.shape[-1] in (2, 4):
        return pixels[..., :-1] * (pixels[..., -1:] > 0)
    return pixels[..., :3]
