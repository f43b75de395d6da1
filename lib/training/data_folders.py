"""The images and masks of a training: which files they are, their patients and checksums, without reading a voxel."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lib.datastore.series_folder import largest_series_volume
from lib.storage.integrity import sha256_of
from lib.training.scans import case_names, find_all_pairs, find_pairs, patient_from_file_name


class SourceImage(NamedTuple):
    """An image to train on.

    Attributes:
        name: See :func:`lib.training.scans.case_names`.
        image: Volume, or folder of one DICOM series.
        mask: Volume on the same grid; None without tumour.
    """

    name: str
    image: Path
    mask: Path | None


@dataclass(frozen=True)
class DataFolders:
    """The folders of a training.

    Attributes:
        images: Folders of volumes, or of one DICOM series each.
        masks: For each of them a folder of masks with the same names, or one mask file for a DICOM series.
        negatives: Volumes or DICOM series without tumour.
    """

    images: tuple[Path, ...]
    masks: tuple[Path, ...]
    negatives: tuple[Path, ...] = ()

    def sources(self) -> list[SourceImage]:
        """Return all images with their masks.

        Raises:
            UserError: Images or masks are missing.
        """
        pairs = find_all_pairs(self.images, self.masks)
        pairs += [pair for folder in self.negatives for pair in find_pairs(folder, None)]
        names = case_names([image for image, _ in pairs])
        return [SourceImage(name, image, mask) for name, (image, mask) in zip(names, pairs, strict=True)]

    def patients(self, cache: Path) -> set[str]:
        """Return the patients of all images.

        Args:
            cache: Folder for the volumes of DICOM series.
        """
        return {patient_of(source, cache) for source in self.sources()}

    def checksums(self, cache: Path) -> list[dict[str, str]]:
        """Return for each image its ``name`` and the SHA-256 of ``image`` and, if there is one, ``mask``.

        That of a DICOM series is the SHA-256 of the sorted SHA-256 of its files, so it does not depend on their names.

        Args:
            cache: Folder for the volumes of DICOM series.
        """
        return [checksums_of(source, cache) for source in self.sources()]


def patient_of(source: SourceImage, cache: Path) -> str:
    """Return the patient of an image: the PatientID of a DICOM series, else derived from the name."""
    if source.image.is_dir():
        return largest_series_volume(source.image, cache).patient_id or source.name
    return patient_from_file_name(source.name)


def checksums_of(source: SourceImage, cache: Path) -> dict[str, str]:
    """Return the entry of an image in `DataFolders.checksums`."""
    image = source.image
    checksum = _of_all(largest_series_volume(image, cache).files) if image.is_dir() else sha256_of(image)
    return {"name": source.name, "image": checksum} | ({"mask": sha256_of(source.mask)} if source.mask else {})


def _of_all(files: Iterable[Path]) -> str:
    return hashlib.sha256("\n".join(sorted(map(sha256_of, files))).encode()).hexdigest()
