"""Inference on new images before somebody asks for it, on a cluster or while no user waits."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

from lib.activelearning.background import YieldToUsers, compute_on_one_core
from lib.cluster.background import BackgroundCluster, ClusterAwayError
from lib.configs.lung_tumor import LungTumor
from lib.datastore.series_datastore import SeriesDatastore
from lib.errors import UserError
from lib.inference import Predictor, WeightsId
from lib.inference.worker_model import WorkerModel
from lib.infers import LungTumorInferTask
from lib.infers.worker_mask import mask_on_worker
from lib.processes.worker import Worker
from lib.server.finished_inferences import FinishedInferences
from lib.settings import Settings
from lib.settings.daily_hours import is_within
from lib.storage.atomic import write_atomically

logger = logging.getLogger(__name__)

_EXTENSION = ".nii.gz"


class InferenceAhead(Worker):
    """Worker that computes the masks of the newest images without a label, so that they are there when wanted.

    A mask is that of a request with the settings of the server, which it answers from then on. The workers of a cluster
    compute as many at once as they can; without one, the server computes one at a time, on one core at low priority,
    while no user waits and no training runs.

    Args:
        finished: The masks that are there.
        datastore: Images and labels.
        predictor: The model with the weights in use.
        settings: Settings of the server.
        yield_to_users: Decides when this process must pause.
        cluster: Where to compute while it is there; None without one.
        hour: Returns the present hour of the day.
        seconds: Pause between two rounds while nothing is to be done.
    """

    def __init__(
        self,
        finished: FinishedInferences,
        datastore: SeriesDatastore,
        predictor: Predictor,
        settings: Settings,
        yield_to_users: YieldToUsers,
        cluster: BackgroundCluster | None = None,
        hour: Callable[[], int] = lambda: datetime.now().hour,
        seconds: float = 10.0,
    ) -> None:
        super().__init__("inference ahead", failure="Could not compute masks ahead", pause=seconds)
        choice = settings.info["config"]["ahead"]
        self._when: str = choice["infer_ahead"]
        self._most: int = choice["infer_ahead_images"]
        self._finished = finished
        self._datastore = datastore
        self._predictor = predictor
        self._info = settings.info
        self._results = settings.results_dir
        self._yield_to_users = yield_to_users
        self._cluster = cluster or BackgroundCluster(None)
        self._hour = hour
        self._task = LungTumorInferTask(
            predictor, settings.info, settings.results_dir, before_pass=lambda done, total: self._pause_for_users()
        )
        self._key = uuid.uuid4().hex  # of the model in workers: another server may have other settings
        self._settled: dict[str, tuple[WeightsId, int]] = {}

    def prepare(self) -> None:
        """Limit the thread to one core."""
        compute_on_one_core()

    def stop(self) -> None:
        """Request the end of the thread, which does not wait for a cluster then."""
        super().stop()
        self._cluster.close()

    def run_once(self) -> bool:
        """Compute one mask, or as many as the cluster can at once; return whether any was settled."""
        if not is_within(self._when, self._hour()):
            return False
        places = self._cluster.places()
        if not places and self._yield_to_users.must_yield():
            return False
        due = self._due()[: max(1, places)]
        if not places:
            return bool(due) and self._settle(due[0], self._here)
        with ThreadPoolExecutor(places, thread_name_prefix=self.name) as waiting:
            return any([*waiting.map(lambda image_id: self._settle(image_id, self._elsewhere), due)])

    def _due(self) -> list[str]:
        """Return the newest images without a label, without those that are settled; none without weights."""
        if self._predictor.weights.current().path is None:
            return []
        listed = [self._datastore.catalog.get(image_id) for image_id in self._datastore.get_unlabeled_images()]
        newest = sorted(
            (series for series in listed if series), key=lambda one: (one.value("StudyDate"), one.uid), reverse=True
        )
        return [one.uid for one in newest[: self._most] if self._settled.get(one.uid) != self._state(one.uid)]

    def _state(self, image_id: str) -> tuple[WeightsId, int]:
        return self._predictor.weights.current(), self._datastore.series(image_id).instance_count

    def _settle(self, image_id: str, compute: Callable[[dict[str, Any]], dict[str, Any]]) -> bool:
        """Compute the mask of an image if it is not there; return False if it has to be tried again.

        An image that cannot be segmented is logged and skipped until it or the weights change.
        """
        request = {"model": LungTumor.NAME, "image": image_id, "result_extension": _EXTENSION}
        state = self._state(image_id)
        try:
            key = self._finished.key(request)
            if key is None:  # the PACS does not respond
                return False
            if key not in self._finished:
                self._finished.keep(key, request, result := self._result(request, compute))
                Path(result["file"]).unlink(missing_ok=True)
                logger.info("The mask of %s is computed ahead", image_id)
        except ClusterAwayError:
            return False
        except (UserError, RuntimeError, OSError, ValueError) as error:
            logger.warning("The mask of %s cannot be computed ahead: %s", image_id, error)
        self._settled[image_id] = state
        return True

    def _result(self, request: dict[str, Any], compute: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
        """Return the result of a request, as the app does."""
        image_id = request["image"]
        with self._datastore.volume_in_use(image_id):
            volume = self._datastore.get_image_uri(image_id)
            warnings = self._datastore.series(image_id).warnings
            result = compute({**request, "image": volume})
        result["params"]["warnings"] = [*warnings, *result["params"]["warnings"]]
        return result

    def _here(self, request: dict[str, Any]) -> dict[str, Any]:
        file, params = self._task(request)
        return {"file": file, "params": params}

    def _elsewhere(self, request: dict[str, Any]) -> dict[str, Any]:
        weights = self._predictor.weights.pinned(self._results)
        model = WorkerModel(f"{self._key} {weights.sha256}", weights, self._predictor.model)
        content, params = self._cluster.run(mask_on_worker, model, self._info, request)
        file = self._results / f"{uuid.uuid4().hex}{_EXTENSION}"
        write_atomically(file, lambda part: part.write_bytes(content))
        return {"file": str(file), "params": params}

    def _pause_for_users(self) -> None:
        self.check_stopped()
        self._yield_to_users.wait()
