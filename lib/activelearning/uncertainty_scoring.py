"""Uncertainty scores of images by the model in use, cached on disk."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import threading
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import DefaultLabelTag
from monailabel.interfaces.tasks.scoring import ScoringMethod

from lib.activelearning.score import Score, ScoreRequest, compute_score, score_on_worker
from lib.activelearning.uncertainty import MEASURES
from lib.cluster.background import BackgroundCluster, ClusterAwayError
from lib.cluster.worker_model import WorkerModel
from lib.datastore.series_datastore import SeriesDatastore
from lib.errors import in_one_line
from lib.inference import Predictor
from lib.publishing import ModelStore
from lib.storage.atomic import write_json
from lib.storage.state_file import move_aside

logger = logging.getLogger(__name__)


class UncertaintyScoring(ScoringMethod):
    """MONAI Label scoring method that scores images by the uncertainty of the model in use.

    The cache key of a score consists of the image with its slices, the weights, the settings and the label, if any.
    Scores are stored as files, so a restart recomputes none. Until the weights in use have scored an image, its score
    by the previous weights is used.

    While there are unlabelled images, only those are scored; afterwards labels are compared with the model's masks.
    Scores use the views and the threshold of inference on the grid of the network, without the CRF and without the
    filters by size and confidence.

    Args:
        measure: One of ``MEASURES``.
        predictor: The model with the weights in use.
        models: Store of the model versions.
        folder: Folder of the scores.
        max_images: Number of images to score, chosen by the lowest hash of their id, which gives a stable random
            sample. Limits the work and the volumes added to the cache. 0 disables scoring.
        before_each_batch: Called before each forward pass in this process; may block.
        cluster: Where to compute while it is there.
    """

    def __init__(
        self,
        measure: str,
        predictor: Predictor,
        models: ModelStore,
        folder: Path,
        *,
        max_images: int,
        before_each_batch: Callable[[], None] = lambda: None,
        cluster: BackgroundCluster | None = None,
    ) -> None:
        super().__init__(f"Uncertainty of the model about an image: highest where {MEASURES[measure]}")
        self._measure = measure
        self._predictor = predictor
        self._options = predictor.model.options.model_copy(update={"attention": False, "crf": False})
        settings = self._options.model_dump(include={"views", "threshold"})
        self._settings = json.dumps([settings, predictor.model.preprocessing], sort_keys=True)
        self._models = models
        self._folder = folder
        self._max_images = max_images
        self._before_each_batch = before_each_batch
        self._cluster = cluster or BackgroundCluster(None)
        self._lock = threading.Lock()  # protects the two below: some threads score while others read
        self._scores: dict[str, Score] = {}
        self._settled: dict[str, tuple[str, int, str | None]] = {}

    def __call__(self, request: dict[str, Any], datastore: SeriesDatastore) -> dict[str, int]:
        """Score every image that lacks a score (``POST /scoring``).

        Returns:
            The number of images under ``scored``.
        """
        due = self.due(datastore)
        for number, image_id in enumerate(due, start=1):
            self.score(image_id, datastore)
            logger.info("Scored %d of %d images", number, len(due))
        return {"scored": len(due)}

    def places(self) -> int:
        """Return how many images the cluster can score at once; 0 if they are scored in this process."""
        return self._cluster.places()

    def close(self) -> None:
        """Give up what waits for the cluster."""
        self._cluster.close()

    def due(self, datastore: SeriesDatastore) -> list[str]:
        """Return the images that lack a score by the weights in use; empty without weights."""
        if self._models.serving_weights() is None:
            return []
        images = datastore.get_unlabeled_images() or datastore.get_labeled_images()
        images = sorted(images, key=lambda image_id: hashlib.sha256(image_id.encode()).digest())[: self._max_images]
        with self._lock:
            settled = self._settled.copy()
        return [image_id for image_id in images if settled.get(image_id) != self._state(image_id, datastore)]

    def score(self, image_id: str, datastore: SeriesDatastore) -> None:
        """Score an image, or read its score from the cache.

        An image that cannot be scored is logged and skipped until it or the weights change.
        """
        state = self._state(image_id, datastore)
        weights, _, label = state
        try:
            image = Path(datastore.get_image_uri(image_id))
            path = self._folder / self._measure / weights / image.parent.name / f"{image_id}.json"
            score = _read(path)
            if score is None or score.label_sha256 != label:
                uri = datastore.get_label_uri(image_id, DefaultLabelTag.FINAL.value) if label else None
                request = ScoreRequest(self._measure, image, Path(uri) if uri else None, label, self._options)
                score = self._compute(request, weights)
                if score is None or self._state(image_id, datastore) != state:
                    return  # the cluster was lost, a model published or the image labelled: it is due again
                write_json(path, asdict(score))
            with self._lock:
                self._scores[image_id] = score
        except Exception as error:  # whatever an odd image leads to: it must not stop the others
            logger.warning("Image %s cannot be scored: %s", image_id, in_one_line(error))
        with self._lock:
            self._settled[image_id] = state

    def uncertainties(self) -> dict[str, float]:
        """Return the uncertainty of each image that has a score."""
        return {image_id: score.uncertainty for image_id, score in self._known().items()}

    def disagreements(self) -> dict[str, float]:
        """Return one minus the Dice coefficient of model mask and label for each image where it is known."""
        found = {image_id: score.disagreement for image_id, score in self._known().items()}
        return {image_id: value for image_id, value in found.items() if value is not None}

    def _known(self) -> dict[str, Score]:
        with self._lock:
            return self._scores.copy()

    def _state(self, image_id: str, datastore: SeriesDatastore) -> tuple[str, int, str | None]:
        """Return the cache key of a score without querying a PACS: weights and settings, number of slices, label."""
        weights = self._models.serving_weights()
        label = datastore.labels.current(image_id).get(DefaultLabelTag.FINAL.value)
        return (
            _digest(weights, weights.stat().st_mtime_ns, self._settings) if weights else "",
            datastore.series(image_id).instance_count,
            label.sha256 if label else None,
        )

    def _compute(self, request: ScoreRequest, digest: str) -> Score | None:
        """Return the score, from the cluster if there is one; None if that was lost meanwhile."""
        if not self.places():
            return compute_score(self._predictor, request, self._before_each_batch)
        without = replace(self._predictor.model, judge=None)  # scores are about the network alone
        weights = self._predictor.weights.pinned(self._folder)
        model = WorkerModel(functools.partial(Predictor, without, weights), f"scores {digest} {weights.sha256}")
        with contextlib.suppress(ClusterAwayError):
            return self._cluster.run(score_on_worker, model, request)
        return None


@functools.lru_cache(maxsize=4)
def _digest(weights: Path, changed_ns: int, settings: str) -> str:
    """Return a digest of weights and settings; ``changed_ns`` invalidates the cache, as shipped weights may change."""
    return hashlib.sha256(weights.read_bytes() + settings.encode()).hexdigest()[:16]


def _read(path: Path) -> Score | None:
    try:
        score = Score(**json.loads(path.read_text(encoding="utf-8")))
        if not _is_share(score.uncertainty) or not (score.disagreement is None or _is_share(score.disagreement)):
            raise ValueError("not a number from 0 to 1")
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
