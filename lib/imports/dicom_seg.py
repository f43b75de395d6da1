"""Segments of DICOM Segmentation objects (PS3.3 A.51), whoever made them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import highdicom as hd
import numpy as np
import SimpleITK as sitk
from pydicom import Dataset, dcmread
from pydicom.uid import SegmentationStorage

from lib.errors import UserError
from lib.imports.image_grid import ImageGrid
from lib.imports.regions import Region, code_of

_OFF_PIXEL = 0.05  # so far a frame's pixels may lie beside the image's, in pixels


def read_regions(path: Path, image: sitk.Image) -> list[Region]:
    """The segments of a BINARY or FRACTIONAL Segmentation; segments without a frame only where there are no others.

    Frames are put where their Image Position (Patient) and orientation say, whatever their order is, and pixel on
    pixel. Of a fractional segment the voxels from half of the maximum on are taken.

    Args:
        path: The DICOM file.
        image: Volume of the image, as :func:`lib.datastore.volume.read_volume` makes it.

    Raises:
        UserError: It is none, damaged, or of a kind that cannot be read. That a segment lies on another grid
            is said when its mask is asked for.
    """
    try:
        dataset = dcmread(path)
        if dataset.SOPClassUID != SegmentationStorage:
            raise UserError(f"It is {dataset.SOPClassUID.name or dataset.SOPClassUID}, not a Segmentation.")
        if dataset.SegmentationType not in ("BINARY", "FRACTIONAL"):
            raise UserError(f"Its Segmentation Type is {dataset.SegmentationType}; BINARY and FRACTIONAL can be read.")
        seg = hd.seg.Segmentation.from_dataset(dataset, copy=False)
        frames = _Frames(seg, ImageGrid.of(image))
        regions = [
            Region(str(one.segment_label), _codes(one), partial(frames.mask, one.segment_number))
            for one in map(seg.get_segment_description, seg.segment_numbers)
            if one.segment_number in frames.of_segment or not frames.of_segment
        ]
    except UserError:
        raise
    except Exception as error:  # highdicom and pydicom raise many kinds on objects that break the standard
        raise UserError(f"The Segmentation is damaged or breaks the standard ({error}).") from error
    return regions


def _codes(segment: hd.seg.SegmentDescription) -> tuple[str, ...]:
    return tuple(code_of(code) for code in (segment.segmented_property_type, segment.segmented_property_category))


class _Frames:
    """The frames of a Segmentation, by the number of their segment."""

    def __init__(self, seg: hd.seg.Segmentation, grid: ImageGrid) -> None:
        self._seg = seg
        self._grid = grid
        self.of_segment: dict[int, list[int]] = {}
        self._groups = list(seg.PerFrameFunctionalGroupsSequence)
        if len(self._groups) != int(seg.NumberOfFrames):
            raise ValueError(f"{seg.NumberOfFrames} frames, but functional groups of {len(self._groups)}")
        for place in range(len(self._groups)):
            number = int(self._group(place, "SegmentIdentificationSequence").ReferencedSegmentNumber)
            self.of_segment.setdefault(number, []).append(place)

    def mask(self, segment_number: int) -> sitk.Image:
        """The mask of a segment."""
        whole = np.zeros(self._grid.shape, np.uint8)
        try:
            for place, pixels in self._pixels(self.of_segment.get(segment_number, [])):
                if pixels.any():
                    self._put(whole, place, pixels)
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"The frames of the Segmentation cannot be read ({error}).") from error
        return self._grid.mask(whole)

    def _put(self, whole: np.ndarray, place: int, pixels: np.ndarray) -> None:
        """Add a frame (row, column) where it lies."""
        orientation = self._group(place, "PlaneOrientationSequence").ImageOrientationPatient
        position = self._group(place, "PlanePositionSequence").ImagePositionPatient
        between_rows, between_columns = map(float, self._group(place, "PixelMeasuresSequence").PixelSpacing)
        along_row, along_column = np.array(orientation, float).reshape(2, 3) * [[between_columns], [between_rows]]
        first = np.array(position, float)
        rows, columns = pixels.shape
        corners = first + np.array([np.zeros(3), (columns - 1) * along_row, (rows - 1) * along_column])
        slice_index = self._grid.slice_at(corners)
        if slice_index is None:
            raise UserError(
                f"It lies on another grid: its frame at ({_mm(first)}) mm lies on no slice of the series; "
                "resample it onto the series in the program that made it."
            )
        ends = self._grid.pixels(corners, slice_index)
        origin = np.rint(ends[0])
        steps = [(ends[1] - ends[0]) / max(columns - 1, 1), (ends[2] - ends[0]) / max(rows - 1, 1)]
        axes = np.rint(steps)
        placed = origin + np.stack([np.zeros(2), (columns - 1) * axes[0], (rows - 1) * axes[1]])
        if np.abs(ends - placed).max() > _OFF_PIXEL or not np.array_equal(np.abs(axes).sum(0), [1, 1]):
            raise UserError(
                f"It lies on another grid: pixels of {between_columns:.4g} × {between_rows:.4g} mm from "
                f"({_mm(first)}) mm on, which are not those of the series; resample it onto the series in the program "
                "that made it."
            )
        marked_rows, marked_columns = np.nonzero(pixels)
        column, row = (origin[:, None] + axes.T @ [marked_columns, marked_rows]).astype(int)
        if min(column.min(), row.min()) < 0 or column.max() >= whole.shape[2] or row.max() >= whole.shape[1]:
            raise UserError(f"It reaches beyond the series, on the slice at ({_mm(first)}) mm.")
        whole[slice_index, row, column] = 1

    def _pixels(self, places: list[int]) -> Iterable[tuple[int, np.ndarray]]:
        """Frames as (row, column) of truth, each with its place."""
        seg = self._seg
        size = (int(seg.Rows), int(seg.Columns))
        if int(seg.BitsAllocated) == 1 and not seg.file_meta.TransferSyntaxUID.is_compressed:
            # A frame need not begin with a byte; pydicom would unpack all of them, which may be many GB.
            length = size[0] * size[1]
            packed = np.frombuffer(seg.PixelData, np.uint8)
            for place in places:
                start = place * length
                bits = np.unpackbits(packed[start // 8 : (start + length + 7) // 8], bitorder="little")
                yield place, bits[start % 8 :][:length].reshape(size).astype(bool)
            return
        voxels = seg.pixel_array.reshape(-1, *size)
        half = 0.5 * int(seg.MaximumFractionalValue) if seg.SegmentationType == "FRACTIONAL" else 0.5
        for place in places:
            yield place, voxels[place] >= half

    def _group(self, place: int, name: str) -> Dataset:
        """A functional group of a frame, its own or the shared one (PS3.3 C.7.6.16)."""
        for groups in (self._groups[place], self._seg.SharedFunctionalGroupsSequence[0]):
            if groups.get(name):
                return groups[name][0]
        raise ValueError(f"frame {place + 1} has no {name}")


def _mm(point: np.ndarray) -> str:
    return ", ".join(f"{value:.5g}" for value in point)
