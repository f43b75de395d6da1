"""Inference on new images before somebody asks for it, on a cluster or while no user waits."""

from __future__ import annotations

import logging
import math
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

from lib.activelearning.background import YieldToUsers, compute_on_one_core
from lib.cluster.background import BackgroundCluster, ClusterAwayError
from lib.cluster.worker_model import WorkerModel
from lib.configs.lung_tumor import LungTumor
from lib.datastore.series_datastore import SeriesDatastore
from lib.errors import UserError, in_one_line
from lib.inference import Predictor, WeightsId
from lib.infers import LungTumorInferTask
from lib.infers.worker_mask import mask_on_worker
from lib.processes.worker import Worker
from lib.server.finished_inferences import FinishedInferences
from lib.settings import Settings
from lib.settings.daily_hours import is_within
from lib.storage.atomic import write_atomically

logger = logging.getLogger(__name__)

_EXTENSION = ".nii.gz"
_LOOK_AGAIN_SECONDS = 1800.0

_State = tuple[WeightsId, int]  # weights and number of slices
_Compute = Callable[[dict[str, Any]], dict[str, Any]]


class InferenceAhead(Worker):
    """Worker that computes the masks of the newest images without a label, so that they are there when wanted.

    A mask is that of a request with the settings of the server, which it answers from then on. The workers of a cluster
    compute as many at once as they can; without one, the server computes one at a time, on one core at low priority,
    while no user waits and no training runs. Each image is looked at again after half an hour: its files may have
    changed, or the PACS or the disk may have recovered.

    Args:
        finished: The masks that are there.
        datastore: Images and labels.
        predictor: The model with the weights in use.
        settings: Settings of the server.
        yield_to_users: Decides when this process must pause.
        cluster: Where to compute while it is there; None without one.
        hour: Returns the present hour of the day.
        clock: Seconds that only increase.
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
        clock: Callable[[], float] = time.monotonic,
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
        self._clock = clock
        self._task = LungTumorInferTask(
            predictor, settings.info, settings.results_dir, before_pass=lambda done, total: self._pause_for_users()
        )
        self._key = uuid.uuid4().hex  # of the model in workers: another server may have other settings
        self._settled: dict[str, tuple[_State, float]] = {}  # with the time at which to look again

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
            return any([*waiting.map(lambda one: self._settle(one, self._elsewhere), due)])

    def _due(self) -> list[tuple[str, _State]]:
        """Return the newest images without a label, without those that are settled; none without weights."""
        weights = self._predictor.weights.current()
        if weights.path is None:
            return []
        listed = [self._datastore.catalog.get(image_id) for image_id in self._datastore.get_unlabeled_images()]
        newest = sorted(
            (series for series in listed if series), key=lambda one: (one.value("StudyDate"), one.uid), reverse=True
        )
        images = [(one.uid, (weights, one.instance_count)) for one in newest[: self._most]]
        return [(image_id, state) for image_id, state in images if not self._is_settled(image_id, state)]

    def _is_settled(self, image_id: str, state: _State) -> bool:
        settled = self._settled.get(image_id)
        return settled is not None and settled[0] == state and self._clock() < settled[1]

    def _settle(self, due: tuple[str, _State], compute: _Compute) -> bool:
        """Compute the mask of an image if it is not there; return False if the cluster was to do it and did not.

        An image that cannot be segmented is logged and skipped until its number of slices or the weights change.
        """
        image_id, state = due
        request = {"model": LungTumor.NAME, "image": image_id, "result_extension": _EXTENSION}
        again, done = self._clock() + _LOOK_AGAIN_SECONDS, True
        try:
            key = self._finished.key(request)
            if key is not None and key not in self._finished:  # None: the PACS does not respond
                self._compute(request, compute)
        except ClusterAwayError as error:
            if not isinstance(error.__cause__, UserError):
                return False
            done = False  # its workers cannot segment this image: others come first
        except Exception as error:  # whatever an odd image leads to: it must not stop the others
            logger.warning("The mask of %s cannot be computed ahead: %s", image_id, in_one_line(error))
            again = again if _may_pass(error) else math.inf
        self._settled[image_id] = state, again
        return done

    def _compute(self, request: dict[str, Any], compute: _Compute) -> None:
        with self._datastore.volume_in_use(request["image"]) as volume:
            key = self._finished.key(request, volume)
            result = compute({**request, "image": str(volume)})
            try:
                self._finished.keep(key, request, result, volume)
            finally:
                Path(result["file"]).unlink(missing_ok=True)
        logger.info("The mask of %s is computed ahead", request["image"])

    def _here(self, request: dict[str, Any]) -> dict[str, Any]:
        file, params = self._task(request)
        return {"file": file, "params": params}

    def _elsewhere(self, request: dict[str, Any]) -> dict[str, Any]:
        weights = self._predictor.weights.pinned(self._results)
        model = WorkerModel(partial(Predictor, self._predictor.model, weights), f"{self._key} {weights.sha256}")
        content, params = self._cluster.run(mask_on_worker, model, self._info, request)
        file = self._results / f"{uuid.uuid4().hex}{_EXTENSION}"
        write_atomically(file, lambda part: part.write_bytes(content))
        return {"file": str(file), "params": params}

    def _pause_for_users(self) -> None:
        self.check_stopped()
        self._yield_to_users.wait()


def _may_pass(error: Exception) -> bool:
    """Return whether an inference may succeed later: a disk was full, a PACS away, or the memory of the GPU in use."""
    return isinstance(error, OSError) or getattr(error, "status", None) == HTTPStatus.SERVICE_UNAVAILABLE
