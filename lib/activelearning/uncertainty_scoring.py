"""Scores of images: the uncertainty of the model in use about each, computed once and kept on disk."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monailabel.interfaces.datastore import DefaultLabelTag
from monailabel.interfaces.tasks.scoring import ScoringMethod

from lib.activelearning.uncertainty import MEASURES, probability_maps, soft_dice_loss, uncertainty
from lib.datastore.series_datastore import SeriesDatastore
from lib.errors import UserError
from lib.inference import Predictor
from lib.publishing import ModelStore
from lib.storage.atomic import write_json
from lib.storage.state_file import move_aside

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Score:
    """The score of one image by one model.

    Attributes:
        uncertainty: From 0 (none) to 1.
        label_sha256: Of the label it was compared with; None where there was none.
        disagreement: One minus the Dice of the model's mask and that label; None where there was none.
    """

    uncertainty: float
    label_sha256: str | None = None
    disagreement: float | None = None


class UncertaintyScoring(ScoringMethod):
    """Scores images by the uncertainty of the model in use.

    A score belongs to an image, to the slices that the image had, to the weights and settings that made it, and to
    the label if there is one; it is made again when any of them changes, and only then: scores are files in the cache,
    so that a restart repeats none. Until the weights in use have scored an image, the score of the weights before
    counts.

    While images wait for their label, only those are scored; once all are labelled, the labels are compared with the
    model's masks. A score is made with the views and the threshold of inference, on the grid of the network; findings
    are not filtered by size, confidence or elongation, and the CRF is not run.

    Args:
        measure: One of ``MEASURES``.
        predictor: The model, with the weights that serve.
        models: The store of these weights.
        folder: Folder of the scores.
        at_most: Number of images scored, those with the lowest hash of their id: a fair sample that does not
            change. It bounds the work, and the volumes that it leaves in the cache. 0 scores none.
        before_each_batch: Called before each forward pass; may wait.
    """

    def __init__(
        self,
        measure: str,
        predictor: Predictor,
        models: ModelStore,
        folder: Path,
        *,
        at_most: int,
        before_each_batch: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(f"Uncertainty of the model about an image: highest where {MEASURES[measure]}")
        self._measure = measure
        self._predictor = predictor
        self._options = predictor.model.options.model_copy(update={"attention": False, "crf": False})
        settings = self._options.model_dump(include={"views", "threshold"})
        self._settings = json.dumps([settings, predictor.model.preprocessing], sort_keys=True)
        self._models = models
        self._folder = folder
        self._at_most = at_most
        self._before_each_batch = before_each_batch
        self._lock = threading.Lock()  # of the two below: one thread scores while others read
        self._scores: dict[str, Score] = {}
        self._settled: dict[str, tuple[str, int, str | None]] = {}

    def __call__(self, request: dict[str, Any], datastore: SeriesDatastore) -> dict[str, int]:
        """Score every image that lacks a score: MONAI Label's ``POST /scoring``.

        Returns:
            ``scored``: how many there were.
        """
        due = self.due(datastore)
        for number, image_id in enumerate(due, start=1):
            self.score(image_id, datastore)
            logger.info("Scored %d of %d images", number, len(due))
        return {"scored": len(due)}

    def due(self, datastore: SeriesDatastore) -> list[str]:
        """Return the images without a score by the weights in use; none where there are no weights."""
        if self._models.serving_weights() is None:
            return []
        images = datastore.get_unlabeled_images() or datastore.get_labeled_images()
        images = sorted(images, key=lambda image_id: hashlib.sha256(image_id.encode()).digest())[: self._at_most]
        with self._lock:
            settled = self._settled.copy()
        return [image_id for image_id in images if settled.get(image_id) != self._state(image_id, datastore)]

    def score(self, image_id: str, datastore: SeriesDatastore) -> None:
        """Score an image, or read its score if it was made before.

        An image that cannot be scored is logged, and left out until it or the weights change.
        """
        state = self._state(image_id, datastore)
        weights, _, label = state
        try:
            image = Path(datastore.get_image_uri(image_id))
            path = self._folder / self._measure / weights / image.parent.name / f"{image_id}.json"
            score = _read(path)
            if score is None or score.label_sha256 != label:
                uri = datastore.get_label_uri(image_id, DefaultLabelTag.FINAL.value) if label else None
                score = self._made(image, Path(uri) if uri else None, label)
                if self._state(image_id, datastore) != state:
                    return  # published or labelled meanwhile: it is due again
                write_json(path, asdict(score))
            with self._lock:
                self._scores[image_id] = score
        except (UserError, RuntimeError, OSError, ValueError) as error:
            logger.warning("Image %s cannot be scored: %s", image_id, error)
        with self._lock:
            self._settled[image_id] = state

    def uncertainties(self) -> dict[str, float]:
        """Return the uncertainty of each image that has a score."""
        return {image_id: score.uncertainty for image_id, score in self._known().items()}

    def disagreements(self) -> dict[str, float]:
        """Return one minus the Dice of the model's mask and the label, of each image for which it is known."""
        found = {image_id: score.disagreement for image_id, score in self._known().items()}
        return {image_id: value for image_id, value in found.items() if value is not None}

    def _known(self) -> dict[str, Score]:
        with self._lock:
            return self._scores.copy()

    def _state(self, image_id: str, datastore: SeriesDatastore) -> tuple[str, int, str | None]:
        """Return what a score depends on, without asking a PACS: weights and settings, number of slices, label."""
        weights = self._models.serving_weights()
        label = datastore.labels.current(image_id).get(DefaultLabelTag.FINAL.value)
        return (
            _digest(weights, weights.stat().st_mtime_ns, self._settings) if weights else "",
            datastore.series(image_id).instance_count,
            label.sha256 if label else None,
        )

    def _made(self, image: Path, label: Path | None, label_sha256: str | None) -> Score:
        data = self._predictor.read({"image": image} | ({"label": label} if label else {}), self._options)
        voxel_mm3 = float(np.abs(np.linalg.det(np.asarray(data["image"].affine)[:3, :3])))

        def predict(volume: torch.Tensor) -> torch.Tensor:
            output = self._predictor.run(
                data, self._options, volume=volume, before_pass=lambda done, total: self._before_each_batch()
            )
            return output.logits[0].sigmoid()

        maps = probability_maps(self._measure, predict, data["image"].as_tensor())
        value = uncertainty(self._measure, maps, voxel_mm3)
        if label is None:
            return Score(value)
        mask = (maps[0] >= self._options.threshold).float()
        truth = (data["label"][0].as_tensor() > 0).float()
        return Score(value, label_sha256, soft_dice_loss(mask, truth, smallest=1))


@functools.lru_cache(maxsize=4)
def _digest(weights: Path, changed_ns: int, settings: str) -> str:
    """Return a digest of weights and settings; the file is read again when it changed, as shipped weights may."""
    return hashlib.sha256(weights.read_bytes() + settings.encode()).hexdigest()[:16]


def _read(path: Path) -> Score | None:
    try:
        score = Score(**json.loads(path.read_text(encoding="utf-8")))
        if not _is_share(score.uncertainty) or not (score.disagreement is None or _is_share(score.disagreement)):
            raise ValueError("no number from 0 to 1")
        return score
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, OSError):
        if path.is_dir():
            move_aside(path)
        logger.warning("The score %s is damaged and is computed again", path)
        return None


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1
