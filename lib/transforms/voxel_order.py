"""Volumes between the voxel order of image files, column fastest, and that of MONAI, slice fastest."""

from typing import Any

import numpy as np
from monai.data import NrrdReader
from monai.utils import ensure_tuple


def contiguous(volume: np.ndarray) -> np.ndarray:
    """Do as ``np.ascontiguousarray`` on a transposed volume (three axes), several times faster.

    One row of all slices after the other: that much stays in the processor's cache.
    """
    result = np.empty(volume.shape, volume.dtype)
    for row in range(volume.shape[1]):
        result[:, row] = volume[:, row]
    return result


class ContiguousNrrdReader(NrrdReader):
    """MONAI's reader of NRRD files, which would leave the transposing to numpy, and do it as float32."""

    def read(self, data: Any, **kwargs: Any) -> Any:
        """Images of one or more files, their voxels contiguous where there are three axes; see ``NrrdReader``."""
        images = super().read(data, **kwargs)
        for image in ensure_tuple(images):
            if image.array.ndim == 3:
                image.array = contiguous(image.array)
        return images
