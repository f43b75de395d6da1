"""Where a NIfTI file says that it lies: its header may say so twice, by the qform and by the sform."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk

_SAME_PLACE_MM = 0.1
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # NIfTI's patient axes are RAS


def two_places(path: Path, image: sitk.Image) -> str | None:
    """Say that qform and sform of a NIfTI file differ, how far, and which is taken; None where they do not.

    ITK's choice is kept, which is that of 3D Slicer: an image must not lie elsewhere here than in the viewer.

    Args:
        path: The file.
        image: What ITK reads of it.
    """
    header = nibabel.load(path).header
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
        f"its header says in two ways where it lies, and they differ by up to {apart:.1f} mm: the {name} is taken, as "
        f"by 3D Slicer; programs that take the {other} show it elsewhere, perhaps with left and right exchanged"
    )
