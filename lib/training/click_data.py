"""Training and hold-out data of the model for clicks."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.clicks.lesion_image import LesionImage, read_lesion_image
from lib.clicks.open_images import OpenImage
from lib.datastore.series_folder import largest_series_volume
from lib.geometry.voxel_grid import VoxelGrid
from lib.phantoms import Acquisition, chest_volume, draw_lesions
from lib.training.data_folders import DataFolders, SourceImage
from lib.training.data_split import held_out
from lib.training.scans import patient_from_file_name
from lib.training.training_data import check_known

logger = logging.getLogger(__name__)

_PHANTOM_LESIONS, _PHANTOM_DIAMETERS_MM = 10, (5.0, 60.0)


@dataclass(frozen=True)
class ClickData:
    """Images in memory, with disjoint patients for training and hold-out.

    Attributes:
        crops: Training crops.
        whole: Whole scans to train on, with or without lesion.
        phantoms: Generated chests with lesions.
        test_crops: Crops of the held-out patients.
        held_out_whole: Names of the whole scans of held-out patients.
        left_out: Patients left out on request.
        checksums: SHA-256 of all files, see :meth:`DataFolders.checksums`.
    """

    crops: Sequence[LesionImage]
    whole: Sequence[LesionImage]
    phantoms: Sequence[LesionImage]
    test_crops: Sequence[LesionImage]
    held_out_whole: Sequence[str] = ()
    left_out: frozenset[str] = frozenset()
    checksums: Sequence[Mapping[str, str]] = ()

    @property
    def patients(self) -> set[str]:
        """Patients to train on."""
        return {image.patient for image in (*self.crops, *self.whole)}

    def names(self) -> dict[str, Any]:
        """Return the entry of the manifest of a run."""
        return {
            "crops": [image.name for image in self.crops],
            "held_out_crops": [image.name for image in self.test_crops],
            "whole_scans": {image.name: int(image.consensus.sum()) for image in self.whole},
            "held_out_whole_scans": list(self.held_out_whole),
            "phantoms": [image.name for image in self.phantoms],
        }


def read_click_data(
    folders: DataFolders, info: Mapping[str, Any], cache: Path, leave_out: Collection[str] = (), phantoms: int = 0
) -> ClickData:
    """Read all images and split crops and whole scans by patient.

    Args:
        folders: Images, masks and scans without lesion.
        info: ``info.yaml``.
        cache: Folder for the volumes of DICOM series.
        leave_out: Patients not to train on, in addition to those held out.
        phantoms: Number of chests to generate.

    Raises:
        UserError: Images or masks are missing, or there are no images of a patient to leave out.
    """
    images = [_read(source, cache) for source in folders.sources()]
    check_known(leave_out, {image.patient for image in images})
    smallest = info["preprocessing"]["field_mm"] / 2
    learned = [image for image in images if not held_out(image.patient) and image.patient not in leave_out]
    tested = [image for image in images if held_out(image.patient)]
    data = ClickData(
        crops=[image for image in learned if not image.is_whole(smallest)],
        whole=[image for image in learned if image.is_whole(smallest)],
        phantoms=[click_phantom(seed) for seed in range(phantoms)],
        test_crops=[image for image in tested if not image.is_whole(smallest)],
        held_out_whole=[image.name for image in tested if image.is_whole(smallest)],
        left_out=frozenset(leave_out),
        checksums=folders.checksums(cache),
    )
    logger.info(
        "%d crops and %d whole scans to train on, %d crops held out.",
        *(len(data.crops), len(data.whole), len(data.test_crops)),
    )
    return data


def _read(source: SourceImage, cache: Path) -> LesionImage:
    if source.image.is_dir():
        series = largest_series_volume(source.image, cache)
        return read_lesion_image(source.name, series.patient_id or source.name, series.path, source.mask)
    return read_lesion_image(source.name, patient_from_file_name(source.name), source.image, source.mask)


def phantom_names(count: int) -> list[str]:
    """Return the names of generated chests."""
    return [f"phantom-{seed}" for seed in range(count)]


def click_phantom(seed: int) -> LesionImage:
    """Return a chest with lesions, with thin or thick slices."""
    grid = Acquisition(shape=(120, 320, 320), spacing=(1.25, 1.1, 1.1))
    if seed % 2:
        grid = Acquisition(shape=(60, 320, 320), spacing=(2.5, 1.1, 1.1))
    lesions = draw_lesions(seed, _PHANTOM_LESIONS, diameters=_PHANTOM_DIAMETERS_MM)
    hu, mask, affine = chest_volume(seed, lesions=lesions, acquisition=grid)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    size = hu.shape[::-1]
    voxel_grid = VoxelGrid.from_geometry(size, affine[:3, 3].tolist(), spacing.tolist(), affine[:3, :3] / spacing)
    return LesionImage(f"phantom-{seed}", f"phantom-{seed}", OpenImage(hu, voxel_grid), mask[None] > 0)
