"""Automatic start of trainings: after enough new or changed labels, and after an interruption."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from lib.processes.worker import Worker
from lib.publishing import ModelStore
from lib.publishing.manifest import outcome
from lib.trainers.unfinished_run import INTERRUPTIONS, Run, UnfinishedRun

logger = logging.getLogger(__name__)

Labels = dict[str, str]  # image id to checksum of its label

BY_ITSELF = "by_itself"  # in the request of a training that was started automatically
_MAX_INTERRUPTIONS = 3


class Retraining(Worker):
    """Worker that starts a training when ``after`` labels differ from those of the last one; one at a time.

    The models are trained one after the other, unless a user stops the training of one. The labels of the last training
    are in the manifest of its version, published or not, so a restart of the server loses nothing. A failed training is
    not retried with the same labels. An interrupted training (server or training killed, power failure) is restarted
    from the beginning: its partial result is discarded, because it is worth little and would never be published.

    Args:
        after: Number of new or changed labels that start a training; 0 for never.
        labels: Returns the labels in use.
        stores: Store of the versions of each model that is trained, by its name.
        unfinished: Record of the running training.
        status: Returns MONAI Label's status of the last training since the server started; None without one.
        start: Starts a training of a model with parameters.
        seconds: Interval between checks.
    """

    def __init__(
        self,
        after: int,
        *,
        labels: Callable[[], Labels],
        stores: Mapping[str, ModelStore],
        unfinished: UnfinishedRun,
        status: Callable[[], str | None],
        start: Callable[[str, dict[str, Any]], Any],
        seconds: float = 5.0,
    ) -> None:
        # Normal priority, because the training process inherits it, and lowers its priority itself.
        super().__init__("retraining", failure="Could not check whether to retrain", pause=seconds, low_priority=False)
        self._after = after
        self._labels = labels
        self._stores = stores
        self._unfinished = unfinished
        self._status = status
        self._start = start
        self._attempted: dict[str, Labels] = {}
        self._last_attempted: Labels = {}

    def run_once(self) -> bool:
        """Check whether a training is due, after a pause."""
        self.start_if_due()
        return False

    def start_if_due(self) -> bool:
        """Start a training if it is due, and return whether one was started."""
        if self._status() in ("SUBMITTED", "RUNNING"):
            return False
        if run := self._unfinished.interrupted():
            return self._recover(run)
        if self._after <= 0:
            return False
        labels = self._labels()
        if self._status() == "STOPPED" and labels == self._last_attempted:
            return False
        return any(self._start_model_if_due(model, labels) for model in self._stores)

    def _start_model_if_due(self, model: str, labels: Labels) -> bool:
        fresh = changed(labels, self._trained(model))
        if fresh < self._after or labels == self._attempted.get(model):
            return False
        self.check_stopped()
        logger.info("%d labels are new or changed: retraining %s", fresh, model)
        self._attempted[model] = self._last_attempted = labels
        self._start(model, {BY_ITSELF: True})
        return True

    def _trained(self, model: str) -> Labels:
        """Return the labels of the last finished training of a model."""
        runs = [manifest["labels"] for manifest in self._stores[model].manifests() if "labels" in manifest]
        return runs[-1] if runs else {}

    def _recover(self, run: Run) -> bool:
        """Complete an interrupted training if its version was kept, else restart it or give up."""
        model = run.request.get("model", next(iter(self._stores)))
        store = self._stores.get(model)
        if store is None:
            logger.error("The training %s was interrupted. It is not restarted: %s has no weights.", run.name, model)
            self._unfinished.drop(run)
            return False
        store.remove_drafts()
        made = next((m for m in store.manifests() if m.get("run") == run.name), None)
        message = f"The training {run.name} was interrupted"
        status = self._status()
        self.check_stopped()  # a training stopped by the shutdown of the server must be restarted by the next one
        if status == "STOPPED":
            self._unfinished.drop(run)
        elif made:
            verdict = made.get("verdict") or {"publish": False, "reason": "Kept, not in use."}
            if verdict["publish"] and store.serving_version() == made.get("compared_with", made["parent"]):
                store.serve(made["version"], by=f"training {run.name}", why=verdict["reason"])
            logger.warning("%s after its end. Version %s: %s", message, made["version"], outcome(made))
            self._unfinished.drop(run)
        elif run.interruptions >= _MAX_INTERRUPTIONS:
            self._attempted[model] = self._labels()
            logger.error(
                "%s, as %d times before. It is not restarted: is there enough memory? Nothing is published.",
                message,
                run.interruptions,
            )
            self._unfinished.drop(run)
        elif run.request.get(BY_ITSELF) and self._after <= 0:
            logger.error("%s. Nothing is published, and retrain_after is now 0: start a training manually.", message)
            self._unfinished.drop(run)
        else:
            logger.error("%s. Nothing of it is published; restarting it from the model that serves.", message)
            again = self._unfinished.start_again(run)
            self._start(model, {**run.request, INTERRUPTIONS: again.interruptions})
            return True
        return False


def changed(labels: Labels, trained: Labels) -> int:
    """Return the number of labels that are new or changed."""
    return sum(trained.get(image_id) != checksum for image_id, checksum in labels.items())
