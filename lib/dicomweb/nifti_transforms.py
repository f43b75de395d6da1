"""Check that the two transforms of a NIfTI header, qform and sform, agree."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK as sitk

_SAME_PLACE_MM = 0.1
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # NIfTI's patient axes are RAS


def qform_sform_mismatch(path: Path, image: sitk.Image) -> str | None:
    """Return a warning with distance and choice if qform and sform of a NIfTI file differ; None if they agree.

    ITK's choice is used. It is also that of 3D Slicer, so that the image has the same position here and in the viewer.

    Args:
        path: The file.
        image: The image that ITK reads from the file.
    """
    header: Any = nibabel.load(path).header  # nibabel declares its base class, which has no transforms
    qform, sform = header.get_qform(coded=True)[0], header.get_sform(coded=True)[0]
    if qform is None or sform is None:
        return None
    corners = np.array([(*corner, 1) for corner in product(*((0, length - 1) for length in image.GetSize()[:3]))])
    placed = [corners @ affine[:3].T for affine in (qform, sform)]
    apart = float(np.linalg.norm(placed[0] - placed[1], axis=1).max())
    if not apart > _SAME_PLACE_MM:
        return None
    first = np.array([*image.GetOrigin()[:3], 1.0]) @ _LPS
    last = np.array([*image.TransformIndexToPhysicalPoint([length - 1 for length in image.GetSize()])[:3], 1.0]) @ _LPS
    taken = np.stack([first, last])[:, :3]
    off = [float(np.abs(place[[0, -1]] - taken).max()) for place in placed]
    name, other = ("qform", "sform") if off[0] <= off[1] else ("sform", "qform")
    return (
        f"qform and sform in its header differ by up to {apart:.1f} mm: the {name} is used, as by 3D Slicer; programs "
        f"that use the {other} show it at another position, possibly with left and right exchanged"
    )
