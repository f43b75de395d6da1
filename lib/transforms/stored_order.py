"""Reading of volumes in the voxel order of the file, column fastest, so that axial slices are contiguous in memory."""

from typing import Any

import torch
from monai.data import NrrdReader
from monai.data.image_reader import NrrdImage


class StoredOrderNrrdReader(NrrdReader):
    """NRRD reader that keeps type and order of the voxels; MONAI's makes a float32 copy, which is then transposed."""

    def get_data(  # type: ignore[override]  # a tensor, whose order MONAI keeps, instead of an array
        self, img: NrrdImage
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        """Return voxels (column, row, slice) and metadata of one file, without a copy."""
        few = img.array[tuple(slice(1) for _ in range(img.array.ndim))]
        _, meta = super().get_data(NrrdImage(few, img.header))
        return torch.from_numpy(img.array.astype(img.array.dtype.newbyteorder("="), copy=False)), meta
