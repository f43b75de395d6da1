"""MONAI Label's datastore over a DICOMweb client: images are CT series, labels are a history on disk."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import logging
import os
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
import requests
import SimpleITK as sitk
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag

from lib.datastore.catalog import CatalogWatcher, DicomwebClient, Series, SeriesCatalog
from lib.datastore.fingerprint import fingerprint_of, grid_of
from lib.datastore.image_info import ImageInfo
from lib.datastore.label_facts import said_later, shown
from lib.datastore.label_reader import read_label
from lib.datastore.label_store import LabelStore
from lib.datastore.predictions import Changes, Prediction, PredictionStore
from lib.datastore.volume import read_file, read_volume, warnings_of, write_mask, write_volume
from lib.datastore.volume_cache import VolumeCache
from lib.datastore.volume_seal import VolumeSeals
from lib.dicomweb.dicom_file import NotUsableError
from lib.dicomweb.folder_client import FolderClient
from lib.dicomweb.image_header import check_image_header
from lib.errors import UserError
from lib.geometry.voxel_grid import VoxelGrid
from lib.settings import Settings
from lib.storage.atomic import make_folder
from lib.storage.integrity import Damage, DamagedFileError

logger = logging.getLogger(__name__)

_MOST_CASES = 10**9
_TOLD = 20  # unreachable folders and files in the status
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


class SeriesDatastore(Datastore):
    """Images are the usable CT series of a folder or PACS, by SeriesInstanceUID.

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
        """The series of an image.

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

    # --- images

    def list_images(self) -> list[str]:
        """Ids of all usable series."""
        return self._catalog().images()

    def get_image_uri(self, image_id: str) -> str:
        """Path of the volume of an image (NRRD, HU, index order column-row-slice); made when first asked for.

        While a PACS is away, the volume that was made last.

        Raises:
            UserError: There is no such image, its slices are no regular grid, or the PACS does not answer.
        """
        series = self.series(image_id)
        try:
            fingerprint = fingerprint_of(series, self.client)
        except requests.RequestException as error:
            made = self.volumes.newest(image_id)
            if not made:
                raise self._away(image_id, error) from error
            logger.warning("The PACS did not answer (%s); the volume made of %s before is used", error, image_id)
            return str(made)
        path = self.volumes.get(image_id, fingerprint, lambda target: self._make_volume(series, target))
        self.catalog.set_warnings(image_id, warnings_of(path))
        return str(path)

    @contextlib.contextmanager
    def volume_in_use(self, image_id: str) -> Iterator[None]:
        """Keep the volume of an image in the cache for as long as the block lasts."""
        with self.volumes.in_use(Path(self.get_image_uri(image_id))):
            yield

    def get_image(self, image_id: str, params: Any = None) -> io.BytesIO:
        """Content of the volume of an image."""
        return io.BytesIO(Path(self.get_image_uri(image_id)).read_bytes())

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """DICOM attributes of an image that viewers ask for, and what was noted about it."""
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

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Refused: images come from the folder or PACS."""
        raise UserError(
            f"Images are not uploaded here: copy the DICOM files into {self.client.base_url}, or send them to "
            "the PACS; they show up by themselves."
        )

    def remove_image(self, image_id: str) -> None:
        """Refused: the user's DICOM files are never removed."""
        raise UserError("Images are never removed by this server; your DICOM files are yours.")

    # --- labels

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """Keep a label on its image's grid. Former labels stay in the history.

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
            **self._origin(image_id, grid, voxels, label_info),
        }
        record = self.labels.save(image_id, label_tag, lambda part: write_mask(label, part, True), info)
        logger.info("Label %d (%s) of %s kept: %d voxels", record.number, label_tag, image_id, info["voxels"])
        return image_id

    def keep_prediction(
        self, image_id: str, mask: Path, *, model_version: str, client_id: str | None, settings: dict[str, Any]
    ) -> None:
        """Remember the model's mask of an image, to say later what a person changed of it. Never fails."""
        try:
            prediction = Prediction(
                image_id, grid_of(Path(self.get_image_uri(image_id))), model_version, client_id, settings
            )
            self.predictions.keep(prediction, sitk.ReadImage(str(mask)))
        except Exception as error:  # a full disk, a PACS that is away: the mask that was asked for is there
            logger.warning("The prediction of %s could not be kept for comparison: %s", image_id, error)

    def _origin(self, image_id: str, grid: str, voxels: np.ndarray, info: dict[str, Any]) -> dict[str, Any]:
        """What is known of the prediction that a label began from: its model version, settings and the changes.

        OHIF's panel names the version, null where the label was drawn from nothing. MONAI Label's Slicer module does
        not: the last prediction that this client asked for counts. ``changes`` is null where none is known.
        """
        named, client = info.get("model_version"), info.get("client_id")
        version = named if isinstance(named, str) else None
        found = None
        try:
            if version or "model_version" not in info:
                found = self.predictions.find(image_id, grid, model_version=version, client_id=client)
        except (OSError, RuntimeError, ValueError, TypeError) as error:  # a damaged cache must not cost a label
            told = str(error).splitlines()[0]
            logger.warning("The prediction that the label of %s began from cannot be read: %s", image_id, told)
        if found is None:
            return {"model_version": version, "changes": None}
        prediction, mask = found
        changes = asdict(Changes.between(mask, voxels))
        return {"model_version": prediction.model_version, "settings": prediction.settings, "changes": changes}

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """Path of the latest label (NIfTI, uint8, on the image's grid).

        Raises:
            UserError: There is none.
            DamagedFileError: It is not what was stored.
        """
        return str(self.labels.path(self.labels.latest(label_id, label_tag)))

    def get_label(self, label_id: str, label_tag: str, params: Any = None) -> io.BytesIO:
        """Content of the latest label."""
        return io.BytesIO(self.labels.content(self.labels.latest(label_id, label_tag)))

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        """What is known of the latest label."""
        record = self.labels.latest(label_id, label_tag)
        return {
            **shown(record.info),
            "number": record.number,
            "ts": int(record.time),
            "sha256": record.sha256,
            "name": self.labels.file_name(record),
        }

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """Add what somebody says to what is known of the latest label; what this app knows stays."""
        self.labels.update_info(label_id, label_tag, lambda known: said_later(info, known))

    def note_label(self, label_id: str, label_tag: str, said: dict[str, Any], user: str | None) -> None:
        """Add what a client's user says of the latest label, with who it was."""
        self.labels.update_info(label_id, label_tag, lambda known: {**said_later(said, known), "noted_by": user})

    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Take a label out of use; it stays in the history."""
        self.labels.withdraw(label_id, label_tag)

    def get_labels_by_image_id(self, image_id: str) -> dict[str, str]:
        """Label id of each tag."""
        return dict.fromkeys(self.labels.current(image_id), image_id)

    def get_label_by_image_id(self, image_id: str, tag: str) -> str:
        """Label id of a tag, empty if there is none."""
        return self.get_labels_by_image_id(image_id).get(tag, "")

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """Ids of the images that a person has labelled; one whose label is damaged is not among them."""
        tag = label_tag or _FINAL
        present = set(self.list_images())
        return [
            image_id
            for image_id in self.labels.labelled_images()
            if image_id in present and tag in self.labels.current(image_id)
        ]

    def damaged_labels(self, tag: str = _FINAL) -> list[Damage]:
        """What is wrong with the images here whose label of this tag is damaged, so that they count as unlabelled."""
        found = []
        for image_id in sorted(set(self.list_images()) & set(self.labels.images())):
            try:
                self.labels.latest(image_id, tag)
            except DamagedFileError as error:
                found.append(error.damage)
            except UserError:
                continue
        return found

    def damage(self) -> list[Damage]:
        """What is damaged of the labels in use and of the DICOM objects in the workspace."""
        objects = self.client.objects.damage() if isinstance(self.client, FolderClient) else []
        return [*self.labels.damage(former=False), *objects]

    def get_unlabeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """Ids of the images that nobody has labelled yet."""
        labelled = set(self.get_labeled_images(label_tag, labels))
        return [image_id for image_id in self.list_images() if image_id not in labelled]

    # --- the whole

    def datalist(self) -> list[dict[str, Any]]:
        """Image and label paths of all labelled images, for training.

        A label of a series that has since got more slices is left out, with a warning.
        """
        return list(self._labelled_pairs())

    def kept_datalist(self) -> list[dict[str, Any]]:
        """As `datalist`; the volumes stay in the cache until this process ends: for trainings, which have their own."""
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
        """Path of a ZIP of labelled images and their labels, for the caller to remove.

        Raises:
            UserError: No image is labelled, or none is wanted.
        """
        if limit_cases is not None and not 1 <= limit_cases < _MOST_CASES:
            raise UserError(f"limit_cases is a number from 1 to {_MOST_CASES - 1}.")
        make_folder(self._settings.temporary_dir)
        handle, name = tempfile.mkstemp(dir=self._settings.temporary_dir, suffix=".zip")
        try:
            with os.fdopen(handle, "wb") as file, zipfile.ZipFile(file, "w") as archive:
                for pair in itertools.islice(self._labelled_pairs(), limit_cases):
                    with self.volumes.in_use(Path(pair["image"])):
                        archive.write(pair["image"], f"image/{pair['image_id']}.nrrd")
                    content = self.labels.content(self.labels.latest(pair["image_id"], _FINAL))
                    archive.writestr(f"label/{pair['image_id']}.nii.gz", content)
                if not archive.namelist():
                    raise UserError("There is nothing to put into an archive: no image is labelled yet.")
                archive.writestr("metadata.json", json.dumps(self.json(), default=str, indent=2))
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        return name

    def status(self) -> dict[str, Any]:
        """Counts for ``/info``: images, labelled ones, labels by tag, series left out, indexing going on."""
        tags: dict[str, int] = {}
        for image_id in self.labels.labelled_images():
            for tag in self.labels.current(image_id):
                tags[tag] = tags.get(tag, 0) + 1
        images = self.list_images()
        status = {
            "total": len(images),
            "completed": len(self.get_labeled_images()),
            "label_tags": tags,
            "left_out": sum(series.left_out for series in self.catalog.all()),
            "with_warnings": sum(series.problem is None and bool(series.warnings) for series in self.catalog.all()),
        }
        if isinstance(self.client, FolderClient):
            unreachable = self.client.index.unreachable()
            if unreachable:
                status["unreachable"] = [{"path": str(path), "reason": reason} for path, reason in unreachable[:_TOLD]]
                status["error"] = _unreachable_sentence(*unreachable[0], len(unreachable) - 1)
        if self.watcher:
            status.update(self.watcher.progress)
            if self.watcher.error:
                status["error"] = self.watcher.error
        return status

    def json(self) -> dict[str, Any]:
        """All images with their info and the info of their labels, as MONAI Label's clients know it."""
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

    def name(self) -> str:
        """Address of the folder or PACS."""
        return self.client.base_url

    def set_name(self, name: str) -> None:
        """Refused: the name is the address."""
        raise UserError("The name of this datastore is the address of its folder or PACS.")

    def description(self) -> str:
        """What it is."""
        return "CT series by SeriesInstanceUID"

    def set_description(self, description: str) -> None:
        """Refused: there is nothing to describe."""
        raise UserError("The description of this datastore is fixed.")

    def _catalog(self) -> SeriesCatalog:
        """The catalog, listed once where no watcher does (a training process)."""
        if not self._listed:
            self.catalog.refresh()
            self._listed = True
        return self.catalog

    def _make_volume(self, series: Series, path: Path) -> None:
        try:
            if series.file and isinstance(self.client, FolderClient):
                self.client.check_readable(series.file)
                check_image_header(series.file, alone=False)  # it may be another file than the index read
                write_volume(read_file(series.file), path)
            elif isinstance(self.client, FolderClient):
                write_volume(read_volume(self.client.series_paths(series.study_uid, series.uid)), path)
            else:
                make_folder(self._settings.temporary_dir)
                with tempfile.TemporaryDirectory(dir=self._settings.temporary_dir) as folder:
                    files = []
                    for number, instance in enumerate(self.client.retrieve_series(series.study_uid, series.uid)):
                        files.append(Path(folder) / f"{number}.dcm")
                        instance.save_as(files[-1], write_like_original=False)
                    write_volume(read_volume(files), path)
        except requests.RequestException as error:
            raise self._away(series.uid, error) from error
        except (ValueError, RuntimeError, NotUsableError) as error:
            raise UserError(
                f"Series {series.uid} cannot be read as a volume: {error}.", HTTPStatus.UNPROCESSABLE_ENTITY
            ) from error

    def _away(self, image_id: str, error: Exception) -> UserError:
        return UserError(
            f"The PACS at {self.client.base_url} did not answer when asked for series {image_id} "
            f"({type(error).__name__}). Try again when it runs and can be reached from here.",
            HTTPStatus.SERVICE_UNAVAILABLE,
        )


def _unreachable_sentence(path: Path, reason: str, more: int) -> str:
    others = f", nor can {more} other folders or files" if more else ""
    return f"{path} cannot be reached: {reason}{others}. What is known of it is kept."
