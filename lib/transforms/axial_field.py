"""The in-plane field that the network sees, at a physical scale."""

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
_BLOCK = 32  # slices that are worked on at a time: of 512x512 pixels, 32 MB as float32


class AxialFieldd(MapTransform, InvertibleTransform):
    """Bring a stored volume to one square field of axial slices, clipped, normalised and resampled in the plane.

    The volume, in any orientation, tilted or with gaps, stays as it was loaded; it goes through a block of slices at a
    time, so that nothing of its size but the result is ever made.

    The field is ``field_mm`` wide. It grows where that is too small: in mode ``lungs`` to hold both lungs, in
    mode ``slice`` to hold the whole slice. It never shrinks, so an image smaller than a chest is padded and
    keeps its scale. In mode ``lungs`` it is centred on the body; without lungs in sight it falls back to mode
    ``slice``.

    The first key is the image that decides; the others (label) get the same geometry by nearest neighbour.
    ``data["lung_slices"]`` becomes the range (first, one past last) of slices that hold lung: all slices where no lungs
    were found. ``data["lungs_found"]`` tells so of an image that is large enough for a chest; of a crop it is always
    True. ``data["lungs"]`` becomes the air in the lungs, a bool tensor (x, y, z) over the field and all slices on a
    grid of about 2.5 mm, or None.

    Args:
        keys: Image first. From MetaTensors of shape (1, X, Y, Z) as they were loaded, the image in HU and of any
            type, to float32 ones of shape (1, *size, D), axes L, P, S.
        field_mm: Smallest side of the field in mm.
        mode: ``lungs`` or ``slice``.
        hu_window: HU below and above which the image is clipped. The lower is what it is padded with.
        normalise: Mean and deviation, HU, that the image is normalised by (eq. 1); None takes the field's own.
        size: Pixels of the result.
        hu_key: Where the image is kept as it was loaded; None lets it go.
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
            raise ValueError(f"The field is chosen by 'lungs' or 'slice', not {mode!r}.")
        if not field_mm > 0:
            raise ValueError(f"field_mm is a length in mm above 0, got {field_mm}.")
        self.field_mm = field_mm
        self.mode = mode
        self.hu_window = hu_window
        self.normalise = normalise
        self.size = tuple(size)
        self.hu_key = hu_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the data with each volume resampled to the field, (1, X, Y, Z)."""
        d = dict(data)
        image: MetaTensor = d[self.keys[0]]
        geometry = self._survey(image, d)
        for key in self.key_iterator(d):
            blocks = self._image_blocks(image, geometry) if key == self.keys[0] else _label_blocks(d[key], geometry)
            # In memory each slice is in one piece: that is how the network asks for them.
            seen = torch.empty(geometry.shape[2], 1, *geometry.size).permute(1, 2, 3, 0)
            for start, stop, block in blocks:
                seen[..., start:stop] = block
            d[key] = MetaTensor(seen, meta=dict(d[key].meta) | {"affine": torch.from_numpy(geometry.affine)})
            self.push_transform(d[key], orig_size=tuple(image.shape[1:]), extra_info={"field": geometry.as_dict()})
        if self.hu_key:
            d[self.hu_key] = image
        return d

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the data with each volume back on the grid of its image."""
        d = dict(data)
        for key in self.key_iterator(d):
            volume: MetaTensor = d[key]
            geometry = FieldGeometry.from_dict(self.pop_transform(volume)["extra_info"]["field"])
            stored = torch.empty(1, *geometry.slices.stored_shape)
            for window, values in geometry.restore(volume.as_tensor().cpu(), _BLOCK):
                stored[(slice(None), *window)] = torch.from_numpy(np.ascontiguousarray(values))
            affine = torch.tensor(geometry.slices.stored_affine, dtype=torch.float64)
            d[key] = MetaTensor(stored, meta=dict(volume.meta) | {"affine": affine})
            d[key].applied_operations = volume.applied_operations
        return d

    def _survey(self, image: MetaTensor, data: dict[Hashable, Any]) -> FieldGeometry:
        """Look for the lungs, tell of them in ``data``, and choose the field."""
        slices = AxialSlices.of(image)
        shape = slices.shape
        spacing = slices.spacing
        # In an image much smaller than a chest (a crop) what looks like a lung is none.
        whole_chest = all(n * length >= 0.5 * self.field_mm for n, length in zip(shape[:2], spacing, strict=False))
        lungs = self._lungs(image, slices) if whole_chest else None
        starts, stops = self._field(shape, spacing, lungs if self.mode == "lungs" else None)
        data["lungs_found"] = lungs is not None or not whole_chest
        data["lung_slices"] = _lung_slices(lungs, shape[2], spacing[2])
        data["lungs"] = _lungs_in_field(lungs, starts, stops) if lungs else None
        return FieldGeometry(slices, tuple(starts), tuple(stops), self.size)

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
        normalise = NormalizeIntensity(subtrahend=mean, divisor=deviation)
        for start, stop, field in self._clipped(image, geometry):
            yield start, stop, geometry.resample(normalise(field), "trilinear")

    def _clipped(self, image: MetaTensor, geometry: FieldGeometry) -> Iterator[tuple[int, int, torch.Tensor]]:
        """The field in HU, clipped, block by block."""
        low, high = self.hu_window
        voxels = image.numpy()
        for start, stop in geometry.slices.blocks(_BLOCK):
            slices = geometry.slices.take(voxels, start, stop, fill=low)
            yield start, stop, geometry.cut(slices, low).clamp_(low, high)

    def _field(
        self, shape: tuple[int, ...], spacing: tuple[float, ...], lungs: LungBox | None
    ) -> tuple[list[int], list[int]]:
        """First and one past last index of the field along the two in-plane axes; may lie outside the image."""
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
    """Where the field of a volume lies that ``AxialFieldd`` made: the last that its trace tells of."""
    trace = [operation["extra_info"] for operation in volume.applied_operations]
    return FieldGeometry.from_dict(next(info["field"] for info in reversed(trace) if "field" in info))


def _label_blocks(label: MetaTensor, geometry: FieldGeometry) -> Iterator[tuple[int, int, torch.Tensor]]:
    for start, stop in geometry.slices.blocks(_BLOCK):
        slices = geometry.slices.take(label.numpy(), start, stop, nearest=True)
        yield start, stop, geometry.resample(geometry.cut(slices, 0.0), "nearest-exact")


def _statistics(blocks: Iterator[torch.Tensor]) -> tuple[float, float]:
    """Mean and standard deviation of all values of some blocks; a deviation of 1 where they are all the same."""
    count, total, squares = 0, 0.0, 0.0
    for block in blocks:
        values = block.double()
        count += values.numel()
        total += float(values.sum())
        squares += float(values.square().sum())
    mean = total / count
    return mean, max(squares / count - mean**2, 0.0) ** 0.5 or 1.0


def _lungs_in_field(lungs: LungBox, starts: list[int], stops: list[int]) -> torch.Tensor:
    """The mask of the lungs cut and padded to the field, to the nearest voxel of its coarse grid."""
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
