"""Training by itself: once enough labels are new or changed, and again after it was interrupted."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from lib.processes.worker import Worker
from lib.publishing import ModelStore
from lib.trainers.unfinished_run import Run, UnfinishedRun

logger = logging.getLogger(__name__)

Labels = dict[str, str]  # image id to checksum of its label

BY_ITSELF = "by_itself"  # in the request of a training that nobody asked for by hand
INTERRUPTIONS = "interruptions"  # in the request of one that is started again
_MAX_INTERRUPTIONS = 3


class Retraining(Worker):
    """Start a training when ``after`` labels differ from those of the last one; one at a time.

    What the last training knew is in the manifest of the version it made, published or not, so nothing is
    forgotten over a restart. A training that failed is not tried again with the same labels. One that was
    interrupted (server or training killed, power cut) is started again from the model that serves: what it
    trained until then is dropped, because half a training is worth little and never publishes anything.

    Args:
        after: How many new or changed labels; 0 for never.
        labels: The labels in use.
        store: Of the versions.
        unfinished: Note of the training that runs.
        status: MONAI Label's word for the last training since the server started; None if there was none.
        start: Starts one, with parameters.
        seconds: Pause between two checks.
    """

    def __init__(
        self,
        after: int,
        *,
        labels: Callable[[], Labels],
        store: ModelStore,
        unfinished: UnfinishedRun,
        status: Callable[[], str | None],
        start: Callable[[dict[str, Any]], Any],
        seconds: float = 5.0,
    ) -> None:
        # The process that trains inherits the priority of this thread, and gives way by itself.
        super().__init__("retraining", failure="Could not check whether to retrain", pause=seconds, low_priority=False)
        self._after = after
        self._labels = labels
        self._store = store
        self._unfinished = unfinished
        self._status = status
        self._start = start
        self._attempted: Labels = {}

    def run_once(self) -> bool:
        """Check whether it is time for a training, after a pause."""
        self.start_if_due()
        return False

    def start_if_due(self) -> bool:
        """Start a training if it is time for one; return whether it was."""
        if self._status() in ("SUBMITTED", "RUNNING"):
            return False
        if run := self._unfinished.interrupted():
            return self._recover(run)
        if self._after <= 0:
            return False
        labels = self._labels()
        fresh = changed(labels, self._trained())
        if fresh < self._after or labels == self._attempted:
            return False
        self.check_stopped()
        logger.info("%d labels are new or changed: retraining", fresh)
        self._attempted = labels
        self._start({BY_ITSELF: True})
        return True

    def _trained(self) -> Labels:
        """The labels that the last finished training knew."""
        runs = [manifest["labels"] for manifest in self._store.manifests() if "labels" in manifest]
        return runs[-1] if runs else {}

    def _recover(self, run: Run) -> bool:
        """Finish what an interrupted training had decided, or start it again, or give it up."""
        self._store.remove_drafts()
        made = next((m for m in self._store.manifests() if m.get("run") == run.name), None)
        told = f"The training {run.name} was interrupted"
        status = self._status()
        self.check_stopped()  # the end of the server stops a training, too, and that one has to start again
        if status == "STOPPED":
            self._unfinished.drop(run)
        elif made:
            verdict = made.get("verdict") or {"publish": False, "reason": "Kept, not in use."}
            if verdict["publish"] and self._store.serving_version() == made.get("compared_with", made["parent"]):
                self._store.serve(made["version"], by=f"training {run.name}", why=verdict["reason"])
            logger.warning("%s after its end. Version %s: %s", told, made["version"], verdict["reason"])
            self._unfinished.drop(run)
        elif run.interruptions >= _MAX_INTERRUPTIONS:
            self._attempted = self._labels()
            logger.error(
                "%s, as %d times before. It is not started again: is there enough memory? Nothing is published.",
                told,
                run.interruptions,
            )
            self._unfinished.drop(run)
        elif run.request.get(BY_ITSELF) and self._after <= 0:
            logger.error("%s. Nothing is published, and retrain_after is 0 now: train by hand.", told)
            self._unfinished.drop(run)
        else:
            logger.error("%s. Nothing of it is published; it starts again from the model that serves.", told)
            again = self._unfinished.start_again(run)
            self._start({**run.request, INTERRUPTIONS: again.interruptions})
            return True
        return False


def changed(labels: Labels, trained: Labels) -> int:
    """How many labels are new, or not what they were."""
    return sum(trained.get(image_id) != checksum for image_id, checksum in labels.items())
