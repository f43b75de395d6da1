"""Train task of MONAI Label for the model for clicks: from submitted labels to a published version."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import torch
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.train import TrainTask

from lib.clicks.lesion_image import LesionImage, open_lesion_image
from lib.clicks.model import ClickModel
from lib.clicks.predictor import ClickPredictor, has_bfloat16
from lib.errors import UserError
from lib.evaluation.click_scores import ClickScores, score_clicks
from lib.inference import WeightsContent, WeightsSource
from lib.networks.weights import check_usable, state_of
from lib.publishing import ModelStore
from lib.publishing.hold_out import HoldOut, patient_of
from lib.publishing.serving_weights import ServingWeights
from lib.settings import check_request
from lib.trainers.click_progress import ClickProgress
from lib.trainers.click_verdict import click_scores_to_json, judge_clicks
from lib.trainers.comparison import ACCEPTED, COMPARE, comparable, note
from lib.trainers.hold_out_split import Cases, split, why_none_held_out
from lib.trainers.kept_version import keep, origin
from lib.trainers.training_progress import stats_file
from lib.trainers.unfinished_run import Run, UnfinishedRun
from lib.training.click_data import ClickData, click_phantom
from lib.training.click_tuning import tune_clicks
from lib.training.run_settings import LoopSettings

logger = logging.getLogger(__name__)

_NO_LESION = "no label of a held-out patient has a lesion"
_BATCH_SIZE = 8
_STEPS_PER_REPORT = 25
_PHANTOMS = 2
_BYTES_PER_SCAN = 200_000_000  # mask of 300 slices, and what finding its lesions needs; the voxels stay on disk


class LungTumorClickTrainTask(TrainTask):
    """Continue the training of the model for clicks on the lesions of submitted labels, with simulated clicks.

    Training starts from the version that serves and stays near it, see :mod:`lib.training.click_tuning`. Candidate and
    serving version are compared by simulated clicks on the lesions of the held-out patients, which are never trained
    on. The candidate is always kept; without held-out patients it serves only once a user chooses it.

    Args:
        model: The model without its weights.
        info: ``info.yaml``.
        store: Store of the versions.
        hold_out: Hold-out patients.
        unfinished: Record of the running training, of all models.
    """

    def __init__(
        self, model: ClickModel, info: dict[str, Any], store: ModelStore, hold_out: HoldOut, unfinished: UnfinishedRun
    ) -> None:
        super().__init__("Learns from submitted labels to outline the lesion that a user points at")
        self._model = model
        self._info = info
        self._store = store
        self._hold_out = hold_out
        self._unfinished = unfinished
        self._stats_file = stats_file(store.folder / "train_stats.json")

    def config(self) -> dict[str, Any]:
        """Return the settings that a request can override."""
        return dict(self._info["config"]["train_clicks"])

    def stats(self) -> dict[str, Any]:
        """Return the progress of the current or last training, such as epoch, total_epochs and verdict."""
        return self._stats_file.read() or {}

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train on the labelled images of ``datastore``, or compare a version (see `comparison.compare`).

        Raises:
            UserError: A value of the request is invalid, nothing can be trained on, or the training diverged.
        """
        for section in ("train", "train_clicks"):
            check_request(self._info, section, request)
        with self._unfinished.new_run(self._store.runs, request) as run:
            cases = datastore.pinned_datalist()
            train, held_out = split(cases, self._hold_out, self._store.manifests())
            if COMPARE in request:
                self._compare(request[COMPARE], held_out)
            elif self._val_split(request) <= 0:
                self._train(run, cases, [])
            else:
                self._train(run, train, held_out)
        return self.stats()

    def _train(self, run: Run, train: Cases, held_out: Cases) -> None:
        if not train:
            raise UserError("There is nothing to train on: every labelled patient is held out. Label more patients.")
        settings = self._settings(run.request)
        progress = ClickProgress(self._stats_file, settings)
        progress.write()
        serving, content = self._store.read_serving()
        candidate = tune_clicks(
            state_of(content),
            self._data(train, settings.seed),
            settings,
            info=self._info,
            output=Path(run.folder),
            report=progress.next,
        )
        check_usable(self._model.network(), candidate)
        before = self._score(WeightsContent(content, str(serving.version)), held_out)
        after = self._score(WeightsContent(candidate.read_bytes(), "the candidate"), held_out) if before else {}
        verdict = judge_clicks(after, before, self._info["publish"], why_none=self._why_none(run, train, held_out))
        manifest = {
            **origin(run.name, train, held_out),
            "parent": serving.version,
            "compared_with": serving.version,
            "settings": settings.model_dump(),
            "clicks": click_scores_to_json(after, before),
            "rule": self._info["publish"],
        }
        version = keep(self._store, candidate, manifest, verdict)
        progress.write(version=version, verdict=verdict.as_dict())

    def _compare(self, version: object, held_out: Cases) -> None:
        cases = comparable(self._store, version, held_out)
        after = self._score(WeightsContent(self._store.read(str(version)), str(version)), cases)
        before = self._score(ServingWeights(self._store), cases)
        serving = self._store.serving_version()
        verdict = judge_clicks(after, before, self._info["publish"], why_none=_NO_LESION, accepted=ACCEPTED)
        note(self._store, str(version), serving, verdict)
        self._stats_file.write({**self.stats(), "version": version, "verdict": verdict.as_dict()})

    def _settings(self, request: dict[str, Any]) -> LoopSettings:
        chosen = {**self.config(), **{name: request[name] for name in self.config() if name in request}}
        return LoopSettings(
            steps=chosen["click_steps"],
            learning_rate=chosen["click_learning_rate"],
            cycles=1,
            batch_size=_BATCH_SIZE,
            seed=request.get("seed", self._info["config"]["train"]["seed"]),
            save_every=_STEPS_PER_REPORT,
            bfloat16=has_bfloat16(torch.device("cuda" if torch.cuda.is_available() else "cpu")),
        )

    def _data(self, cases: Cases, seed: int) -> ClickData:
        """Return the images to train on, as many as half of the free memory holds, and generated chests."""
        room = max(psutil.virtual_memory().available // 2 // _BYTES_PER_SCAN, 1)
        if len(cases) > room:
            cases = random.Random(seed).sample(cases, room)
        images = [*_opened(cases)]
        smallest = self._info["preprocessing"]["field_mm"] / 2
        return ClickData(
            crops=[image for image in images if not image.is_whole(smallest)],
            whole=[image for image in images if image.is_whole(smallest)],
            phantoms=[click_phantom(number) for number in range(_PHANTOMS)],
            test_crops=[],
        )

    def _score(self, weights: WeightsSource, cases: Sequence[dict[str, Any]]) -> dict[str, ClickScores]:
        return score_clicks(ClickPredictor(self._model, weights), _opened(cases))

    def _why_none(self, run: Run, train: Cases, held_out: Cases) -> str:
        if held_out:
            return _NO_LESION
        return why_none_held_out(
            train,
            self._hold_out,
            val_split=self._val_split(run.request),
            min_patients=self._info["config"]["train"]["hold_out_from_patients"],
        )

    def _val_split(self, request: dict[str, Any]) -> float:
        return float(request.get("val_split", self._info["config"]["train"]["val_split"]))


def _opened(cases: Sequence[dict[str, Any]]) -> Iterator[LesionImage]:
    """Yield the images of labelled cases, without those that cannot be read."""
    for case in cases:
        name = str(case.get("image_id", case["image"]))
        try:
            yield open_lesion_image(name, patient_of(case), Path(case["image"]), Path(case["label"]))
        except (UserError, OSError, RuntimeError) as error:
            logger.warning("Image %s is left out of the training of clicks: %s", name, error)
