"""Conversion between the voxel order of image files (column fastest) and that of MONAI (slice fastest)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import nrrd
import numpy as np
from monai.data import NrrdReader
from monai.data.image_reader import NrrdImage
from monai.utils import ensure_tuple

_BLOCK = 32  # slices: neighbours along the slice axis then share a CPU cache line
_TYPES = {"short": "i2", "int16": "i2", "float": "f4", "uint8": "u1", "uchar": "u1", "unsigned char": "u1"}
_ORDERS: dict[str, Literal["<", ">"]] = {"little": "<", "big": ">"}
_DETACHED = {"data file", "datafile", "byte skip", "byteskip", "line skip", "lineskip"}


def contiguous(volume: np.ndarray) -> np.ndarray:
    """Return ``np.ascontiguousarray`` of a transposed volume (three axes), several times faster.

    Copies one row of all slices at a time, which fits into the CPU cache.
    """
    result = np.empty(volume.shape, volume.dtype)
    for row in range(volume.shape[1]):
        result[:, row] = volume[:, row]
    return result


class ContiguousNrrdReader(NrrdReader):
    """NRRD reader that avoids the slow transposition and the float32 copies of MONAI's reader.

    Voxels keep the type of the file. An uncompressed file, as written by the server, is read and transposed in blocks
    of slices, so that only one copy is in memory.
    """

    def read(self, data: Any, **kwargs: Any) -> NrrdImage:
        """Read one file, with contiguous voxels if it has three axes; see ``NrrdReader``."""
        (name,) = ensure_tuple(data)
        with Path(name).open("rb") as file:
            header = nrrd.read_header(file)
            if header["encoding"] == "raw" and len(header["sizes"]) == 3 and not _DETACHED & header.keys():
                dtype = np.dtype(_TYPES.get(header["type"], "V")).newbyteorder(_ORDERS[header.get("endian", "little")])
                if dtype.kind != "V":
                    return NrrdImage(_read_blocks(file, dtype, header["sizes"]), header)
        image = cast(NrrdImage, super().read(data, **kwargs))  # of a single file, not a list
        return NrrdImage(contiguous(image.array), image.header) if image.array.ndim == 3 else image

    def get_data(  # type: ignore[override]  # read returns a single image
        self, img: NrrdImage
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Return voxels and metadata, without the copy that ``NrrdReader`` makes."""
        few = img.array[tuple(slice(1) for _ in range(img.array.ndim))]
        _, meta = super().get_data(NrrdImage(few, img.header))
        return img.array, meta


def _read_blocks(file: BinaryIO, dtype: np.dtype, sizes: Sequence[int]) -> np.ndarray:
    """Read the remaining voxels of a file as (column, row, slice), slice fastest."""
    columns, rows, slices = (int(length) for length in sizes)
    volume = np.empty((columns, rows, slices), dtype.newbyteorder("="))
    for start in range(0, slices, _BLOCK):
        stop = min(start + _BLOCK, slices)
        block = np.fromfile(file, dtype, (stop - start) * rows * columns)
        if block.size < (stop - start) * rows * columns:
            raise ValueError("the file ends before its last voxel")
        block = block.reshape(stop - start, rows, columns)
        for row in range(rows):
            volume[:, row, start:stop] = block[:, row].T
    return volume
