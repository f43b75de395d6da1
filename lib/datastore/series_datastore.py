"""MONAI Label's datastore over a DICOMweb client: images are CT series, labels are a history on disk."""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
import requests
import SimpleITK as sitk
from monailabel.interfaces.datastore import DefaultLabelTag

from lib.datastore.catalog import DicomwebClient, Series, SeriesCatalog
from lib.datastore.catalog_watcher import CatalogWatcher
from lib.datastore.dataset_archive import write_archive
from lib.datastore.datastore_status import indexing_status, label_counts, series_counts
from lib.datastore.fingerprint import fingerprint_of, grid_of
from lib.datastore.fixed_images import FixedImages
from lib.datastore.image_info import ImageInfo
from lib.datastore.label_origin import origin_of_label
from lib.datastore.label_reader import read_label
from lib.datastore.label_store import LabelStore
from lib.datastore.predictions import Prediction, PredictionStore
from lib.datastore.series_volume import make_volume, pacs_unreachable
from lib.datastore.stored_labels import StoredLabels
from lib.datastore.volume import warnings_of, write_mask
from lib.datastore.volume_cache import VolumeCache
from lib.datastore.volume_seal import VolumeSeals
from lib.dicomweb.folder_client import FolderClient
from lib.errors import UserError
from lib.geometry.voxel_grid import VoxelGrid
from lib.settings import Settings
from lib.storage.integrity import Damage

logger = logging.getLogger(__name__)

_MOST_CASES = 10**9
_FINAL = DefaultLabelTag.FINAL.value
_INFO_KEYWORDS = (
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "PatientID",
    "Modality",
    "StudyDate",
    "StudyTime",
    "StudyDescription",
    "SeriesDescription",
)


class SeriesDatastore(FixedImages, StoredLabels):
    """The usable CT series of a folder or PACS as images, by SeriesInstanceUID, and the labels of them.

    MONAI Label's own DICOMweb datastore keeps its list in one JSON file rewritten in place, overwrites labels
    and lists a series only hours later; so its interface is taken, not its storage.

    Args:
        client: DICOMweb client of the folder or PACS.
        settings: Where labels and cache are kept, and which label values there are.
        search_filters: Which series a PACS is asked for. A folder lists all, to say why the others are not used.
    """

    def __init__(
        self,
        client: DicomwebClient,
        settings: Settings,
        search_filters: dict[str, Any] | None = None,
    ) -> None:
        self.client = client
        self.catalog = SeriesCatalog(client, search_filters)
        self.labels = LabelStore(settings.labels_dir)
        self.predictions = PredictionStore(settings.cache_dir / "predictions")
        self.watcher: CatalogWatcher | None = None
        self._settings = settings
        max_bytes = int(settings.info["config"]["cache"]["volumes_gb"] * (1 << 30))
        self.volumes = VolumeCache(settings.cache_dir / "volumes", max_bytes, is_whole=VolumeSeals().is_whole)
        self._info = ImageInfo(settings.workspace / "image_info")
        self._label_values: dict[str, int] = settings.info["labels"]
        self._listed = False

    def watch(self, after: Callable[[], object] = lambda: None) -> CatalogWatcher:
        """Keep the list of series up to date in the background, as the server does; call ``after`` each refresh."""
        scan = self.client.scan if isinstance(self.client, FolderClient) else None
        self.watcher = CatalogWatcher(self.catalog, scan, self._settings.rescan_seconds, after)
        self._listed = True
        self.watcher.start()
        return self.watcher

    def series(self, image_id: str) -> Series:
        """Return the series of an image.

        Raises:
            UserError: There is none, or it cannot be used, with the reason.
        """
        series = self._catalog().get(image_id)
        if series is None:
            raise UserError(
                f"There is no image {image_id!r}. Images are named by their SeriesInstanceUID; "
                "GET /datastore/?output=all lists them.",
                HTTPStatus.NOT_FOUND,
            )
        if series.problem:
            raise UserError(f"Series {image_id} cannot be used: {series.problem}.", HTTPStatus.UNPROCESSABLE_ENTITY)
        return series

    def list_images(self) -> list[str]:
        """Return the ids of all usable series."""
        return self._catalog().images()

    def get_image_uri(self, image_id: str) -> str:
        """Return the path of the volume of an image (NRRD, HU, index order column-row-slice), made on first use.

        While a PACS does not answer, it is the volume that was made last.

        Raises:
            UserError: There is no such image, its slices are no regular grid, or the PACS does not answer.
        """
        series = self.series(image_id)
        try:
            fingerprint = fingerprint_of(series, self.client)
        except requests.RequestException as error:
            made = self.volumes.newest(image_id)
            if not made:
                raise pacs_unreachable(self.client, image_id, error) from error
            logger.warning("The PACS did not answer (%s); the volume made of %s before is used", error, image_id)
            return str(made)
        temporary_dir = self._settings.temporary_dir
        path = self.volumes.get(
            image_id, fingerprint, lambda target: make_volume(series, self.client, target, temporary_dir)
        )
        self.catalog.set_warnings(image_id, warnings_of(path))
        return str(path)

    @contextlib.contextmanager
    def volume_in_use(self, image_id: str) -> Iterator[None]:
        """Keep the volume of an image in the cache for as long as the block lasts."""
        with self.volumes.in_use(Path(self.get_image_uri(image_id))):
            yield

    def get_image(self, image_id: str, params: Any = None) -> io.BytesIO:
        """Return the content of the volume of an image."""
        return io.BytesIO(Path(self.get_image_uri(image_id)).read_bytes())

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """Return the DICOM attributes of an image that viewers ask for, and what was noted about it."""
        series = self.series(image_id)
        info = {keyword: series.value(keyword) for keyword in _INFO_KEYWORDS}
        return {
            **self._info.get(image_id),
            **info,
            "warnings": [*series.warnings, *series.notes],
            "name": f"{image_id}.nrrd",
        }

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """Note something about an image."""
        self.series(image_id)
        self._info.update(image_id, info)

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """Keep a label on its image's grid; former labels stay in the history.

        Returns:
            The label id, which is the image id.

        Raises:
            UserError: Unknown image, a tag that is no name, or a file that is no label of this image.
        """
        image_path = Path(self.get_image_uri(image_id))
        label = read_label(Path(label_filename), image_path, self._label_values, label_info.get("label_info"))
        voxels, grid = sitk.GetArrayViewFromImage(label), grid_of(image_path)
        info = {
            **label_info,
            "size": label.GetSize(),
            "voxels": int(np.count_nonzero(voxels)),
            "grid": grid,
            **origin_of_label(self.predictions, image_id, grid, voxels, label_info),
        }
        record = self.labels.save(image_id, label_tag, lambda part: write_mask(label, part, True), info)
        logger.info("Label %d (%s) of %s kept: %d voxels", record.number, label_tag, image_id, info["voxels"])
        return image_id

    def keep_prediction(
        self, image_id: str, mask: Path, *, model_version: str, client_id: str | None, settings: dict[str, Any]
    ) -> None:
        """Keep the model's mask of an image, to tell later what a person changed of it; a failure is only logged."""
        try:
            prediction = Prediction(
                image_id, grid_of(Path(self.get_image_uri(image_id))), model_version, client_id, settings
            )
            self.predictions.keep(prediction, sitk.ReadImage(str(mask)))
        except Exception as error:  # a full disk, a PACS that is away: the mask that was asked for is there
            logger.warning("The prediction of %s could not be kept for comparison: %s", image_id, error)

    def damage(self) -> list[Damage]:
        """Return what is damaged of the labels in use and of the DICOM objects in the workspace."""
        damaged = self.labels.damage(former=False)
        return [*damaged, *self.client.objects.damage()] if isinstance(self.client, FolderClient) else damaged

    def datalist(self) -> list[dict[str, Any]]:
        """Return image and label paths of all labelled images, for training.

        A label of a series that has since got more slices is left out, with a warning.
        """
        return list(self._labelled_pairs())

    def kept_datalist(self) -> list[dict[str, Any]]:
        """Return `datalist` and keep its volumes in the cache until this process ends, as a training process needs."""
        pairs: list[dict[str, Any]] = []
        for pair in self._labelled_pairs():
            pairs.append(pair)
            self.volumes.keep(Path(pair["image"]) for pair in pairs)  # before the next one may need room
        return pairs

    def _labelled_pairs(self) -> Iterator[dict[str, Any]]:
        for image_id in self.get_labeled_images():
            try:
                record = self.labels.latest(image_id, _FINAL)
                image, label = self.get_image_uri(image_id), str(self.labels.path(record))
                patient = self.series(image_id).value("PatientID")
            except (UserError, OSError) as error:
                logger.warning("Image %s is left out of training: %s", image_id, error)
                continue
            if VoxelGrid.from_file(Path(image)).size != VoxelGrid.from_file(Path(label)).size:
                logger.warning("Image %s is left out of training: it changed after it was labelled", image_id)
                continue
            yield {
                "image": image,
                "label": label,
                "image_id": image_id,
                "patient_id": patient,
                "label_sha256": record.sha256,
            }

    def get_dataset_archive(self, limit_cases: int | None) -> str:
        """Return the path of a ZIP of labelled images and their labels, for the caller to remove.

        Raises:
            UserError: No image is labelled, or none is wanted.
        """
        if limit_cases is not None and not 1 <= limit_cases < _MOST_CASES:
            raise UserError(f"limit_cases is a number from 1 to {_MOST_CASES - 1}.")
        return write_archive(
            itertools.islice(self._labelled_pairs(), limit_cases),
            self._settings.temporary_dir,
            volumes=self.volumes,
            labels=self.labels,
            tag=_FINAL,
            metadata=self.json,
        )

    def status(self) -> dict[str, Any]:
        """Return counts for ``/info``: images, labelled ones, labels by tag, series left out, indexing progress."""
        return {
            "total": len(self.list_images()),
            "completed": len(self.get_labeled_images()),
            "label_tags": label_counts(self.labels),
            **series_counts(self.catalog),
            **indexing_status(self.client, self.watcher),
        }

    def json(self) -> dict[str, Any]:
        """Return all images with their info and the info of their labels, as MONAI Label's clients know it."""
        return {
            "name": self.name(),
            "description": self.description(),
            "objects": {
                image_id: {
                    "image": {"ext": ".nrrd", "info": self.get_image_info(image_id)},
                    "labels": {
                        tag: {"ext": ".nii.gz", "info": self.get_label_info(image_id, tag)}
                        for tag in self.labels.current(image_id)
                    },
                }
                for image_id in self.list_images()
            },
        }

    def refresh(self) -> None:
        """Look for new series now."""
        if self.watcher:
            self.watcher.wake()
        else:
            self.catalog.refresh()

    def _catalog(self) -> SeriesCatalog:
        """Return the catalog, listed once where no watcher does so (in a training process)."""
        if not self._listed:
            self.catalog.refresh()
            self._listed = True
        return self.catalog
