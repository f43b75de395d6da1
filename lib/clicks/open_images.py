"""Images whose voxels are ready for clicks."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

import nrrd
import numpy as np
import SimpleITK as sitk

from lib.geometry.voxel_grid import VoxelGrid

_MOST_OPEN = 16  # a mapped volume that the cache has evicted takes up disk space until it is closed
_MOST_BYTES = 1 << 30  # of images that are read as a whole
_TYPES = {"short": "<i2", "int16": "<i2", "signed short": "<i2"}

_State = tuple[int, int, int]


@dataclass(frozen=True)
class OpenImage:
    """An image whose voxels can be read at once.

    Attributes:
        hu: HU, shape (slice, row, column).
        grid: Its grid.
        source: Equal for two openings of the same unchanged file; unique for an image that is not from a file.
    """

    hu: np.ndarray
    grid: VoxelGrid
    source: object = field(default_factory=object)

    @property
    def bytes_held(self) -> int:
        """Memory of the voxels; 0 if they are mapped from a file."""
        return 0 if isinstance(self.hu, np.memmap) else self.hu.nbytes


class OpenImages:
    """The images of the last requests, open for reading. Thread-safe.

    The volumes of this app, uncompressed NRRD, are mapped into memory: a click reads only its cube, the first as fast
    as the tenth, while the memory stays the system's, which holds as much of the file as there is room for. Other
    files are read as a whole. A file that was replaced is opened again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: OrderedDict[Path, tuple[_State, OpenImage]] = OrderedDict()

    def open(self, path: Path) -> OpenImage:
        """Return an image file in HU as an open image.

        Args:
            path: .nrrd, .nii or .nii.gz.

        Raises:
            RuntimeError: The file cannot be read.
        """
        status = path.stat()
        state = (status.st_ino, status.st_size, status.st_mtime_ns)
        with self._lock:
            known = self._open.get(path)
            if known is None or known[0] != state:
                source = (path, state)
                known = (state, _mapped(path, source) or _read(path, source))
                self._open[path] = known
            self._open.move_to_end(path)
            self._close_oldest()
        return known[1]

    def _close_oldest(self) -> None:
        while len(self._open) > _MOST_OPEN or (len(self._open) > 1 and self._bytes_held() > _MOST_BYTES):
            self._open.popitem(last=False)

    def _bytes_held(self) -> int:
        return sum(image.bytes_held for _, image in self._open.values())


def _mapped(path: Path, source: object) -> OpenImage | None:
    """Return an uncompressed NRRD file of 16-bit numbers, mapped into memory; None if it is another file."""
    if path.suffix != ".nrrd":
        return None
    with path.open("rb") as file:
        header = nrrd.read_header(file)
        offset = file.tell()
    kind = _TYPES.get(header["type"])
    if header["encoding"] != "raw" or kind is None or header.get("endian") != "little" or "data file" in header:
        return None
    grid = VoxelGrid.from_file(path)
    if path.stat().st_size < offset + 2 * int(np.prod(grid.size)):
        raise RuntimeError(f"{path.name} ends before its last voxel")
    return OpenImage(np.memmap(path, kind, "r", offset, grid.shape), grid, source)


def _read(path: Path, source: object) -> OpenImage:
    image = sitk.ReadImage(str(path))
    return OpenImage(sitk.GetArrayFromImage(image), VoxelGrid.from_image(image), source)
