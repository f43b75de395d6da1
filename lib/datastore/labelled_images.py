"""Images with their labels, for trainings and for the archive of all of them."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import DefaultLabelTag

from lib.datastore.catalog import Series
from lib.datastore.dataset_archive import write_archive
from lib.datastore.label_clicks import first_clicks
from lib.datastore.label_lesions import rejected_voxels
from lib.datastore.stored_labels import StoredLabels
from lib.datastore.volume_cache import VolumeCache
from lib.errors import UserError
from lib.geometry.voxel_grid import VoxelGrid

logger = logging.getLogger(__name__)

_MOST_CASES = 10**9
_FINAL = DefaultLabelTag.FINAL.value


class LabelledImages(StoredLabels):
    """The methods of a datastore that return images together with their labels."""

    volumes: VolumeCache
    temporary_dir: Path

    @abstractmethod
    def series(self, image_id: str) -> Series:
        """Return the series of an image; a UserError if it does not exist or cannot be used."""

    def datalist(self) -> list[dict[str, Any]]:
        """Return image and label paths of all images that are trained on.

        A label of a series whose slices changed since is left out, with a warning.
        """
        return list(self._labelled_pairs(self.trained_on()))

    def pinned_datalist(self) -> list[dict[str, Any]]:
        """Return `datalist`, with its volumes pinned in the cache until this process ends, for a training."""
        pairs: list[dict[str, Any]] = []
        for pair in self._labelled_pairs(self.trained_on()):
            pairs.append(pair)
            self.volumes.pin(Path(pair["image"]) for pair in pairs)  # before the next volume may evict one
        return pairs

    def rejected(self, image_id: str) -> list[tuple[int, ...]]:
        """Return a voxel of each finding that a reader rejected in the final label of an image."""
        return rejected_voxels(self._info_of_final(image_id))

    def first_clicks(self, image_id: str) -> list[list[int]]:
        """Return the voxel of the first click on each lesion that led to the final label of an image."""
        return first_clicks(self._info_of_final(image_id))

    def _info_of_final(self, image_id: str) -> Mapping[str, Any]:
        """Return the information of the final label; empty if it was withdrawn or damaged since a training began."""
        try:
            return self.labels.latest(image_id, _FINAL).info
        except UserError:
            return {}

    def some_unlabelled(self, count: int) -> dict[Path, str]:
        """Return the volumes of a few images without a label, always the same ones, with their patients.

        Images that cannot be read are left out.
        """
        found: dict[Path, str] = {}
        for image_id in sorted(self.get_unlabeled_images(), key=lambda one: hashlib.sha256(one.encode()).digest()):
            if len(found) == count:
                break
            with contextlib.suppress(UserError, OSError):
                found[Path(self.get_image_uri(image_id))] = self.series(image_id).value("PatientID") or image_id
        return found

    def _labelled_pairs(self, images: Iterable[str]) -> Iterator[dict[str, Any]]:
        for image_id in images:
            try:
                record = self.labels.latest(image_id, _FINAL)
                image, label = self.get_image_uri(image_id), str(self.labels.path(record))
                patient = self.series(image_id).value("PatientID")
            except (UserError, OSError) as error:
                logger.warning("Image %s is excluded from training: %s", image_id, error)
                continue
            if VoxelGrid.from_file(Path(image)).size != VoxelGrid.from_file(Path(label)).size:
                logger.warning("Image %s is excluded from training: it changed after it was labelled", image_id)
                continue
            yield {
                "image": image,
                "label": label,
                "image_id": image_id,
                "patient_id": patient,
                "label_sha256": record.sha256,
            }

    def get_dataset_archive(self, limit_cases: int | None) -> str:
        """Return the path of a ZIP archive of labelled images and their labels; the caller removes it.

        Raises:
            UserError: No image is labelled, or ``limit_cases`` is out of range.
        """
        if limit_cases is not None and not 1 <= limit_cases < _MOST_CASES:
            raise UserError(f"limit_cases must be a number from 1 to {_MOST_CASES - 1}, not {limit_cases}.")
        return write_archive(
            itertools.islice(self._labelled_pairs(self.get_labeled_images()), limit_cases),
            self.temporary_dir,
            volumes=self.volumes,
            labels=self.labels,
            tag=_FINAL,
            metadata=self.json,
        )
