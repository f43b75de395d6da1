"""MONAI Label datastore over a DICOMweb client: images are CT series, labels are an append-only history on disk."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
import requests
import SimpleITK as sitk
from monailabel.interfaces.datastore import DefaultLabelTag

from lib.datastore.catalog import DicomwebClient, Series, SeriesCatalog
from lib.datastore.catalog_watcher import CatalogWatcher
from lib.datastore.datastore_status import indexing_status, label_counts, series_counts
from lib.datastore.drafts import Drafts
from lib.datastore.empty_label import EmptyLabelError
from lib.datastore.fingerprint import fingerprint_of, grid_of
from lib.datastore.image_info import ImageInfo
from lib.datastore.label_measurements import check_inside, measurements_of
from lib.datastore.label_origin import origin_of_label
from lib.datastore.label_reader import read_label
from lib.datastore.label_store import LabelRecord, LabelStore
from lib.datastore.labelled_images import LabelledImages
from lib.datastore.lesion_history import lesions_of_submission
from lib.datastore.object_senders import ObjectSenders
from lib.datastore.predictions import Prediction, PredictionStore
from lib.datastore.read_only_images import ReadOnlyImages
from lib.datastore.series_volume import make_volume, pacs_unreachable
from lib.datastore.skipped_images import SkippedImages
from lib.datastore.volume import warnings_of, write_mask
from lib.datastore.volume_cache import VolumeCache
from lib.datastore.volume_checksum import VolumeChecksums
from lib.dicomweb.folder_client import FolderClient
from lib.errors import UserError
from lib.geometry.voxel_grid import VoxelGrid
from lib.settings import Settings
from lib.storage.integrity import Damage

logger = logging.getLogger(__name__)

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


class SeriesDatastore(ReadOnlyImages, LabelledImages):
    """The usable CT series of a folder or PACS as images, by SeriesInstanceUID, with their labels.

    Implements MONAI Label's interface but not its DICOMweb datastore, which keeps its list in one JSON file that is
    rewritten in place, overwrites labels, and lists new series only hours later.

    Args:
        client: DICOMweb client of the folder or PACS.
        settings: Settings with the folders of labels and cache, and the label values.
        search_filters: QIDO-RS filters for a PACS. A folder lists all series, so that the reasons for unusable ones
            are known.
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
        self.skipped = SkippedImages(settings.workspace / "skipped.json")
        self.drafts = Drafts(settings.workspace / "drafts")
        self.senders = ObjectSenders(settings.workspace / "senders.json")
        self.review_required = settings.info["config"]["activelearning"]["review"]
        self.predictions = PredictionStore(settings.cache_dir / "predictions")
        self.watcher: CatalogWatcher | None = None
        self._settings = settings
        self.temporary_dir = settings.temporary_dir
        max_bytes = int(settings.info["config"]["cache"]["volumes_gb"] * (1 << 30))
        self.volumes = VolumeCache(settings.cache_dir / "volumes", max_bytes, is_intact=VolumeChecksums().is_intact)
        self._info = ImageInfo(settings.workspace / "image_info")
        self._label_values: dict[str, int] = settings.info["labels"]
        self._listed = False

    def watch(self, after: Callable[[], object] = lambda: None) -> CatalogWatcher:
        """Refresh the catalog in the background, as the server does, and call ``after`` after each refresh."""
        scan = self.client.scan if isinstance(self.client, FolderClient) else None
        self.watcher = CatalogWatcher(self.catalog, scan, self._settings.rescan_seconds, after)
        self._listed = True
        self.watcher.start()
        return self.watcher

    def series(self, image_id: str) -> Series:
        """Return the series of an image.

        Raises:
            UserError: The series does not exist or cannot be used; the message has the reason.
        """
        series = self._catalog().get(image_id)
        if series is None:
            raise UserError(
                f"There is no image {image_id!r}. The id of an image is its SeriesInstanceUID; "
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
        """Return the path of the volume of an image (NRRD, HU, index order column-row-slice), created on first use.

        While a PACS does not respond, the last cached volume is returned.

        Raises:
            UserError: There is no such image, its slices cannot be stacked, or the PACS does not respond.
        """
        series = self.series(image_id)
        try:
            fingerprint = fingerprint_of(series, self.client)
        except requests.RequestException as error:
            made = self.volumes.newest(image_id)
            if not made:
                raise pacs_unreachable(self.client, image_id, error) from error
            logger.warning("The PACS did not respond (%s); using the cached volume of %s", error, image_id)
            return str(made)
        path = self.volumes.get(
            image_id, fingerprint, lambda target: make_volume(series, self.client, target, self.temporary_dir)
        )
        self.catalog.set_warnings(image_id, warnings_of(path))
        return str(path)

    @contextlib.contextmanager
    def volume_in_use(self, image_id: str) -> Iterator[Path]:
        """Protect the volume of an image from eviction within the context, and yield its path."""
        volume = Path(self.get_image_uri(image_id))
        with self.volumes.in_use(volume):
            yield volume

    def get_image(self, image_id: str, params: Any = None) -> io.BytesIO:
        """Return the content of the volume of an image."""
        return io.BytesIO(Path(self.get_image_uri(image_id)).read_bytes())

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """Return the DICOM attributes of an image that viewers request, and the notes on it."""
        attributes = self.image_attributes(image_id)
        warnings = [*attributes["warnings"], *self.series(image_id).notes]
        return {**self._info.get(image_id), **attributes, "warnings": warnings}

    def image_attributes(self, image_id: str) -> dict[str, Any]:
        """Return the DICOM attributes of an image that viewers request, without what people or objects say about it."""
        series = self.series(image_id)
        attributes = {keyword: series.value(keyword) for keyword in _INFO_KEYWORDS}
        return {**attributes, "warnings": [*series.warnings], "name": f"{image_id}.nrrd"}

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """Add notes to an image."""
        self.series(image_id)
        self._info.update(image_id, info)

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """Store a label, and return its id, which is the image id: MONAI Label's interface of `store_label`."""
        return self.store_label(image_id, label_filename, label_tag, label_info).image_id

    def store_label(
        self,
        image_id: str,
        label_filename: str,
        label_tag: str,
        label_info: dict[str, Any],
        *,
        allow_empty: bool = True,
        seen: LabelStore | None = None,
        note: Callable[[np.ndarray], dict[str, Any]] | None = None,
        check: Callable[[], object] = lambda: None,
    ) -> LabelRecord:
        """Store a label on the grid of its image; former labels stay in the history.

        Args:
            image_id: SeriesInstanceUID.
            label_filename: File of the label.
            label_tag: Tag of the label.
            label_info: Kept with the label.
            allow_empty: Whether a label without a voxel is stored.
            seen: The labels that its author sees under the tag ``final``, if these are not all. Its lesions are
                numbered after them.
            note: Returns what its information says besides, from the mask (column, row, slice), bool.
            check: Called before the label is stored, while nobody else stores one; it raises an error to prevent that.

        Returns:
            Its record, with its number.

        Raises:
            UserError: The image is unknown, the tag is invalid, the file is not a label of this image, or a measurement
                is outside of it.
            EmptyLabelError: The label is empty, which is not allowed.
        """
        image_path = Path(self.get_image_uri(image_id))
        check_inside(measurements_of(label_info.get("measurements")), VoxelGrid.from_file(image_path))
        label = read_label(Path(label_filename), image_path, self._label_values, label_info.get("label_info"))
        voxels, grid = sitk.GetArrayViewFromImage(label), grid_of(image_path)
        if not allow_empty and not voxels.any():
            raise EmptyLabelError
        info = {
            **label_info,
            "size": label.GetSize(),
            "voxels": int(np.count_nonzero(voxels)),
            "grid": grid,
            **(note(voxels.transpose() > 0) if note else {}),
            **origin_of_label(self.predictions, image_id, grid, voxels, label_info),
            **lesions_of_submission(
                self.labels if seen is None else seen,
                image_id,
                label_tag if seen is None else _FINAL,
                voxels,
                self._label_values,
            ),
        }
        record = self.labels.save(image_id, label_tag, lambda part: write_mask(label, part, True), info, check)
        logger.info("Label %d (%s) of %s stored: %d voxels", record.number, label_tag, image_id, info["voxels"])
        return record

    def keep_prediction(
        self,
        image_id: str,
        mask: Path,
        volume: Path,
        *,
        model_version: str,
        client_id: str | None,
        settings: dict[str, Any],
        findings: Sequence[dict[str, Any]] = (),
    ) -> Prediction | None:
        """Store a predicted mask and its findings, to determine later what a user changed.

        Args:
            image_id: SeriesInstanceUID.
            mask: File of the mask.
            volume: The volume in the cache that was segmented.
            model_version: Version of the model.
            client_id: Id of the requesting client, if known.
            settings: Settings of the inference.
            findings: Its findings.

        Returns:
            What was stored; None if that failed, which is only logged.
        """
        try:
            prediction = Prediction(image_id, grid_of(volume), model_version, client_id, settings, [*findings])
            voxels = sitk.GetArrayFromImage(sitk.ReadImage(str(mask)))
            self.predictions.keep(prediction, VoxelGrid.from_file(volume).mask(voxels))  # NIfTI loses a sheared grid
        except Exception as error:  # a full disk must not fail the request for the mask
            logger.warning("The prediction of %s could not be stored for comparison: %s", image_id, error)
            return None
        return prediction

    def damage(self) -> list[Damage]:
        """Return the damage to labels in use and to DICOM objects in the workspace."""
        damaged = self.labels.damage(former=False)
        return [*damaged, *self.client.objects.damage()] if isinstance(self.client, FolderClient) else damaged

    def status(self) -> dict[str, Any]:
        """Return the status for ``/info``: images, labelled images, labels by tag, series left out, indexing."""
        return {
            "total": len(self.list_images()),
            "completed": len(self.get_labeled_images()),
            "label_tags": label_counts(self.labels),
            **series_counts(self.catalog),
            **indexing_status(self.client, self.watcher),
        }

    def json(self) -> dict[str, Any]:
        """Return all images with their info and that of their labels, in MONAI Label's format."""
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
        """Refresh the catalog now."""
        if self.watcher:
            self.watcher.wake()
        else:
            self.catalog.refresh()

    def _catalog(self) -> SeriesCatalog:
        """Return the catalog; without a watcher, as in a training process, it is refreshed on first use."""
        if not self._listed:
            self.catalog.refresh()
            self._listed = True
        return self.catalog
