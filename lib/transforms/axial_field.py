"""In-plane field of view of the network, at a fixed physical scale."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import InvertibleTransform, MapTransform, NormalizeIntensity

from lib.geometry.axial_slices import AxialSlices
from lib.geometry.field_geometry import FieldGeometry
from lib.transforms.lungs import AIR_HU, LungBox, find_lungs, lung_steps, lungs_of

_MARGIN_MM = 10.0  # around the lungs, in the plane and beyond their first and last slice
_BLOCK = 32  # slices processed at a time: 32 MB as float32 for 512x512 pixels


class AxialFieldd(MapTransform, InvertibleTransform):
    """Resample a stored volume to a square field of axial slices, clipped and normalised.

    The loaded volume, in any orientation, tilted or with gaps, is not modified; it is processed in blocks of slices, so
    that no temporary array of its size is needed.

    The field is at least ``field_mm`` wide. It is enlarged to contain both lungs (mode ``lungs``) or the whole slice
    (mode ``slice``), and never reduced, so an image smaller than a chest is padded and keeps its scale. In mode
    ``lungs`` it is centred on the body; without detected lungs it falls back to mode ``slice``.

    The first key is the image, which determines the geometry; the others (label) are resampled to it by nearest
    neighbour. Sets ``data["lung_slices"]`` to the range (first, one past last) of slices with lung, or of all slices
    if no lungs were found; ``data["lungs_found"]`` to whether they were found, always True for an image too small for
    a chest; and ``data["lungs"]`` to the air in the lungs, a bool tensor (x, y, z) over the field and all slices on a
    grid of about 2.5 mm, or None.

    Args:
        keys: Image first. Loaded MetaTensors of shape (1, X, Y, Z), the image in HU and of any type, become float32
            MetaTensors of shape (1, *size, D), axes L, P, S.
        field_mm: Smallest side of the field in mm.
        mode: ``lungs`` or ``slice``.
        hu_window: Lower and upper limit in HU for clipping; the lower is also the padding value.
        normalise: Mean and standard deviation in HU (eq. 1); None uses those of the field.
        size: Pixels of the result.
        hu_key: Key under which the loaded image is kept; None discards it.
    """

    def __init__(
        self,
        keys: KeysCollection,
        *,
        field_mm: float,
        mode: str = "lungs",
        hu_window: tuple[float, float] = (-1000.0, 400.0),
        normalise: tuple[float, float] | None,
        size: Sequence[int],
        hu_key: str | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        if mode not in ("lungs", "slice"):
            raise ValueError(f"mode must be 'lungs' or 'slice', not {mode!r}.")
        if not field_mm > 0:
            raise ValueError(f"field_mm must be a length in mm above 0, got {field_mm}.")
        self.field_mm = field_mm
        self.mode = mode
        self.hu_window = hu_window
        self.normalise = normalise
        self.size = (size[0], size[1])
        self.hu_key = hu_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Resample the volumes of ``keys`` to the field."""
        d = dict(data)
        image: MetaTensor = d[self.keys[0]]
        geometry = self._survey(image, d)
        for key in self.key_iterator(d):
            blocks = self._image_blocks(image, geometry) if key == self.keys[0] else _label_blocks(d[key], geometry)
            # Each slice is contiguous in memory, as the network accesses them.
            seen = torch.empty(geometry.shape[2], 1, *geometry.size).permute(1, 2, 3, 0)
            for start, stop, block in blocks:
                seen[..., start:stop] = block
            d[key] = MetaTensor(seen, meta=dict(d[key].meta) | {"affine": torch.from_numpy(geometry.affine)})
            self.push_transform(d[key], orig_size=tuple(image.shape[1:]), extra_info={"field": geometry.as_dict()})
        if self.hu_key:
            d[self.hu_key] = image
        return d

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Resample the volumes of ``keys`` back to the grid of the loaded image."""
        d = dict(data)
        for key in self.key_iterator(d):
            volume: MetaTensor = d[key]
            geometry = FieldGeometry.from_dict(self.pop_transform(volume)["extra_info"]["field"])
            stored = np.empty((1, *geometry.slices.stored_shape), np.float32, order="F")
            for window, values in geometry.restore(volume.as_tensor().cpu(), _BLOCK):
                stored[(slice(None), *window)] = values
            affine = torch.tensor(geometry.slices.stored_affine, dtype=torch.float64)
            d[key] = MetaTensor(torch.from_numpy(stored), meta=dict(volume.meta) | {"affine": affine})
            d[key].applied_operations = volume.applied_operations
        return d

    def _survey(self, image: MetaTensor, data: dict[Hashable, Any]) -> FieldGeometry:
        """Find the lungs, record them in ``data``, and choose the field."""
        slices = AxialSlices.of(image)
        shape = slices.shape
        spacing = slices.spacing
        # In an image much smaller than a chest (a crop), a region that looks like a lung is not one.
        whole_chest = all(n * length >= 0.5 * self.field_mm for n, length in zip(shape[:2], spacing, strict=False))
        lungs = self._lungs(image, slices) if whole_chest else None
        starts, stops = self._field(shape, spacing, lungs if self.mode == "lungs" else None)
        data["lungs_found"] = lungs is not None or not whole_chest
        data["lung_slices"] = _lung_slices(lungs, shape[2], spacing[2])
        data["lungs"] = _lungs_in_field(lungs, starts, stops) if lungs else None
        return FieldGeometry(slices, (starts[0], starts[1]), (stops[0], stops[1]), self.size)

    def _lungs(self, image: MetaTensor, slices: AxialSlices) -> LungBox | None:
        voxels = image.numpy()
        if slices.grid is None:
            return find_lungs(slices.take(voxels, 0, slices.shape[2])[0], slices.spacing)
        steps = lung_steps(slices.spacing)
        air = [
            slices.take(voxels, place, place + 1, fill=self.hu_window[0])[0, :: steps[0], :: steps[1], 0] < AIR_HU
            for place in range(0, slices.shape[2], steps[2])
        ]
        return lungs_of(np.stack(air, axis=-1), slices.shape, slices.spacing)

    def _image_blocks(self, image: MetaTensor, geometry: FieldGeometry) -> Iterator[tuple[int, int, torch.Tensor]]:
        mean, deviation = self.normalise or _statistics(field for _, _, field in self._clipped(image, geometry))
        normalise: Any = NormalizeIntensity(subtrahend=mean, divisor=deviation)  # type: ignore[arg-type]  # or floats
        for start, stop, field in self._clipped(image, geometry):
            yield start, stop, normalise(geometry.resample(field, "bilinear"))

    def _clipped(self, image: MetaTensor, geometry: FieldGeometry) -> Iterator[tuple[int, int, torch.Tensor]]:
        """Yield the field in HU, clipped, block by block, (slices, rows, columns)."""
        low, high = self.hu_window
        voxels = image.numpy()
        for start, stop in geometry.slices.blocks(_BLOCK):
            slices = geometry.slices.take(voxels, start, stop, fill=low)
            yield start, stop, geometry.cut(slices, low).clamp_(low, high)

    def _field(
        self, shape: tuple[int, ...], spacing: tuple[float, ...], lungs: LungBox | None
    ) -> tuple[list[int], list[int]]:
        """Return the first and one past the last index of the field along the in-plane axes, maybe off the image."""
        sides = np.array(spacing[:2])
        if lungs is None:
            centre = np.array(shape[:2]) / 2
            reach = max(centre * sides)
        else:
            centre = np.array(lungs.body_centre)
            ends = np.abs(np.array([lungs.start[:2], lungs.stop[:2]]) - centre)
            reach = (ends * sides).max() + _MARGIN_MM
        counts = np.rint(2 * max(reach, self.field_mm / 2) / sides).astype(int)
        starts = np.rint(centre - counts / 2).astype(int)
        return starts.tolist(), (starts + counts).tolist()


def field_of(volume: MetaTensor) -> FieldGeometry:
    """Return the geometry of the field of a volume made by ``AxialFieldd``, the last in its trace of transforms."""
    trace = [operation["extra_info"] for operation in volume.applied_operations]
    return FieldGeometry.from_dict(next(info["field"] for info in reversed(trace) if "field" in info))


def _label_blocks(label: MetaTensor, geometry: FieldGeometry) -> Iterator[tuple[int, int, torch.Tensor]]:
    for start, stop in geometry.slices.blocks(_BLOCK):
        slices = geometry.slices.take(label.numpy(), start, stop, nearest=True)
        yield start, stop, geometry.resample(geometry.cut(slices, 0.0), "nearest-exact")


def _statistics(blocks: Iterator[torch.Tensor]) -> tuple[float, float]:
    """Return mean and standard deviation over all blocks; a deviation of 1 if all values are equal."""
    count, total, squares = 0, 0.0, 0.0
    for block in blocks:
        values = block.double()
        count += values.numel()
        total += float(values.sum())
        squares += float(values.square().sum())
    mean = total / count
    return mean, max(squares / count - mean**2, 0.0) ** 0.5 or 1.0


def _lungs_in_field(lungs: LungBox, starts: list[int], stops: list[int]) -> torch.Tensor:
    """Return the lung mask cropped and padded to the field, to the nearest voxel of its coarse grid."""
    columns = []
    for start, stop, step, length in zip(starts, stops, lungs.steps, lungs.mask.shape, strict=False):
        index = np.arange(round((stop - start) / step)) + round(start / step)
        columns.append(np.where((index >= 0) & (index < length), index, length))
    padded = np.pad(lungs.mask, ((0, 1), (0, 1), (0, 0)))
    return torch.from_numpy(padded[np.ix_(*columns)])


def _lung_slices(lungs: LungBox | None, depth: int, spacing: float) -> tuple[int, int]:
    if lungs is None:
        return 0, depth
    margin = round(_MARGIN_MM / spacing)
    return max(lungs.start[2] - margin, 0), min(lungs.stop[2] + margin, depth)
