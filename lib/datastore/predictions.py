"""Cache of predicted masks and their findings, to measure what users changed in them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from lib.datastore.image_writing import write_image
from lib.dicomweb.image_header import read_image_header
from lib.storage.atomic import write_atomically

logger = logging.getLogger(__name__)

_KEY = "prediction"
_CHECKSUM = "voxels_sha256"  # SimpleITK may fill a truncated file with zeros
_MAX_BYTES = 512 << 20


@dataclass(frozen=True)
class Prediction:
    """Origin of a predicted mask.

    Attributes:
        image_id: SeriesInstanceUID.
        grid: Fingerprint of the slices.
        model_version: Version of the model.
        client_id: Id of the requesting client, if known.
        settings: Settings of the inference.
        findings: What the answer has under ``findings``: ``voxel`` and ``confidence`` of each.
    """

    image_id: str
    grid: str
    model_version: str
    client_id: str | None
    settings: dict[str, Any]
    findings: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Changes:
    """Voxel counts of the differences between a label and the prediction it started from.

    Attributes:
        added: Labelled, but not so in the prediction.
        removed: Labelled in the prediction, but not so in the label.
        kept: Labelled the same in both.
    """

    added: int
    removed: int
    kept: int

    @classmethod
    def between(cls, predicted: np.ndarray, label: np.ndarray) -> Changes:
        """Compare two masks of the same shape; a voxel with a different label counts as removed and as added."""
        differs = predicted != label
        return cls(
            added=int(np.count_nonzero(differs & (label != 0))),
            removed=int(np.count_nonzero(differs & (predicted != 0))),
            kept=int(np.count_nonzero(~differs & (label != 0))),
        )


class PredictionStore:
    """Predictions as compressed NRRD files with their origin in the header; the oldest are evicted.

    A prediction of the same image, model version, settings and client replaces the previous one: the mask is the same.

    Args:
        folder: Folder in the cache; can be deleted at any time.
        max_bytes: Size limit of all files together.
    """

    def __init__(self, folder: Path, max_bytes: int = _MAX_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    def keep(self, prediction: Prediction, mask: sitk.Image) -> None:
        """Store the mask of a prediction; it must be on the grid of its image."""
        mask = sitk.Cast(mask, sitk.sitkUInt8)
        mask.SetMetaData(_KEY, json.dumps(asdict(prediction), sort_keys=True))
        mask.SetMetaData(_CHECKSUM, _checksum(sitk.GetArrayViewFromImage(mask), prediction.findings))
        write_atomically(self._path(prediction), lambda part: write_image(mask, part, True))
        self._evict()

    def find(
        self, image_id: str, grid: str, *, model_version: str | None = None, client_id: str | None = None
    ) -> tuple[Prediction, np.ndarray] | None:
        """Return the latest prediction of an image by a model version, preferably one that this client requested.

        Args:
            image_id: SeriesInstanceUID.
            grid: Fingerprint of the current slices of the image.
            model_version: Version of the model; None if unknown, then only predictions for ``client_id`` match.
            client_id: Id of the client.

        Returns:
            The prediction and its mask (slice, row, column), or None if there is none.

        Raises:
            ValueError: The stored mask is damaged.
        """
        found = [
            (prediction, path)
            for prediction, path in self._newest_first(image_id)
            if prediction.grid == grid
            and (prediction.model_version == model_version if model_version else prediction.client_id == client_id)
        ]
        if not found or not (model_version or client_id):
            return None
        prediction, path = next((one for one in found if one[0].client_id == client_id), found[0])
        return prediction, sitk.GetArrayFromImage(_read(path, prediction))

    def read(self, prediction: Prediction) -> sitk.Image | None:
        """Return the mask of a prediction on the grid of its image, or None if it was evicted.

        Raises:
            ValueError: The stored mask is damaged.
        """
        path = self._path(prediction)
        if not path.is_file():
            return None
        image = _read(path, prediction)
        for key in image.GetMetaDataKeys():  # they name the client
            image.EraseMetaData(key)
        return image

    def _path(self, prediction: Prediction) -> Path:
        return self._folder / prediction.image_id / f"{_name(prediction)}.nrrd"

    def _newest_first(self, image_id: str) -> Iterator[tuple[Prediction, Path]]:
        for path in reversed([*_oldest_first((self._folder / image_id).glob("[0-9a-f]*.nrrd"))]):
            try:
                prediction = Prediction(**json.loads(read_image_header(path).GetMetaData(_KEY)))
            except (OSError, RuntimeError, ValueError, TypeError) as error:  # a damaged file must not hide the others
                logger.warning("The prediction %s is damaged and is excluded: %s", path, str(error).splitlines()[0])
                continue
            yield prediction, path

    def _evict(self) -> None:
        files = _oldest_first(path for path in self._folder.glob("*/[0-9a-f]*.nrrd") if path.is_file())
        used = sum(files.values())
        for path, size in [*files.items()][:-1]:
            if used <= self._max_bytes:
                return
            used -= size
            path.unlink(missing_ok=True)


def _read(path: Path, prediction: Prediction) -> sitk.Image:
    image = sitk.ReadImage(str(path))
    checksum = _checksum(sitk.GetArrayViewFromImage(image), prediction.findings)
    if not image.HasMetaDataKey(_CHECKSUM) or image.GetMetaData(_CHECKSUM) != checksum:
        raise ValueError(f"{path} does not match its checksum")
    return image


def _name(prediction: Prediction) -> str:
    """Return the name of the file, which is that of the prediction that it replaces."""
    origin = {name: value for name, value in asdict(prediction).items() if name != "findings"}
    return hashlib.sha256(json.dumps(origin, sort_keys=True).encode()).hexdigest()[:16]


def _checksum(mask: np.ndarray, findings: list[dict[str, Any]]) -> str:
    """Return the checksum of a mask and its findings; without findings, that of earlier versions."""
    noted = json.dumps(findings, sort_keys=True).encode() if findings else b""
    return hashlib.sha256(mask.tobytes() + noted).hexdigest()


def _oldest_first(paths: Iterable[Path]) -> dict[Path, int]:
    """Return the size of each file, the oldest one first, without those that are evicted meanwhile."""
    found = []
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            found.append((status.st_mtime_ns, path, status.st_size))
    return {path: size for _, path, size in sorted(found)}
