"""Train task of MONAI Label for the model for clicks: from submitted labels to a published version."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from monailabel.interfaces.tasks.train import TrainTask

from lib.clicks.lesion_image import LesionImage
from lib.clicks.model import ClickModel
from lib.cluster.background import BackgroundCluster
from lib.datastore.series_datastore import SeriesDatastore
from lib.inference.bfloat16 import has_bfloat16
from lib.networks.weights import check_usable
from lib.publishing import ModelStore
from lib.publishing.click_measurement import measure_clicks, opened, with_clicks
from lib.publishing.folds import Folds, patient_of
from lib.publishing.gate import Rule
from lib.publishing.measurement import Elsewhere
from lib.reading.reader_means import learned, reader_count, training_cases
from lib.settings import check_request
from lib.trainers.candidate import Candidate, Part, candidate_of, parts_of, why_not_measured
from lib.trainers.click_progress import ClickProgress
from lib.trainers.comparison import COMPARE, Measure, compare, compare_variants
from lib.trainers.kept_version import keep, still_valid
from lib.trainers.second_stage import NETWORK
from lib.trainers.start_weights import StartWeights, save_mean
from lib.trainers.training_progress import stats_file
from lib.trainers.unfinished_run import Run, UnfinishedRun
from lib.training.click_data import ClickData, click_phantom
from lib.training.click_tuning import tune_clicks
from lib.training.run_settings import LoopSettings

Cases = list[dict[str, Any]]

_SECTIONS = ("train", "train_clicks")  # of config in info.yaml
_BATCH_SIZE = 8
_STEPS_PER_EPOCH = 25
_PHANTOMS = 2
_BYTES_PER_SCAN = 200_000_000  # mask of 300 slices, and what finding its lesions needs; the voxels stay on disk
_BYTES_PER_MASK = 80_000_000  # of each further reader


class LungTumorClickTrainTask(TrainTask):
    """Continue the training of the model for clicks on the lesions of submitted labels.

    Clicks are simulated, but half of the first ones on a lesion that a user has clicked are those of the user.

    Training starts from the origin of the version that serves, and is averaged with that (``click_trained_share``). The
    same is repeated without each fold of the patients, so that candidate and serving version are compared, by the Dice
    after one and after three simulated clicks, on patients that neither was trained on. The candidate is always kept,
    and serves if it is better.

    Args:
        model: The model without its weights.
        info: ``info.yaml``.
        store: Store of the versions.
        folds: Folds of the patients.
        unfinished: Record of the running training, of all models.
        study_file: The study that the server serves; None without one.
        cluster: Where the gate measures while it is there; None to measure in this process.
    """

    def __init__(
        self,
        model: ClickModel,
        info: dict[str, Any],
        store: ModelStore,
        folds: Folds,
        unfinished: UnfinishedRun,
        study_file: Path | None = None,
        cluster: BackgroundCluster | None = None,
    ) -> None:
        super().__init__("Learns from submitted labels to outline the lesion that a user points at")
        self._model = model
        self._network = model.network()
        self._info = info
        self._store = store
        self._folds = folds
        self._unfinished = unfinished
        self._study_file = study_file
        self._cluster = cluster
        self._rule = Rule(**info["publish"])
        self._stats_file = stats_file(store.folder / "train_stats.json")

    def config(self) -> dict[str, Any]:
        """Return the settings that a request can override."""
        return dict(self._info["config"]["train_clicks"])

    def stats(self) -> dict[str, Any]:
        """Return the progress of the current or last training, such as epoch, total_epochs and verdict."""
        return self._stats_file.read() or {}

    def __call__(self, request: dict[str, Any], datastore: SeriesDatastore) -> dict[str, Any]:
        """Train on the labelled images of ``datastore``, or compare a version (see `comparison.compare`).

        Raises:
            UserError: A value of the request is invalid, nothing can be trained on, or the training diverged.
        """
        for section in _SECTIONS:
            check_request(self._info, section, request)
        with self._unfinished.new_run(self._store.runs, request) as run:
            settings = {name: value for section in _SECTIONS for name, value in self._info["config"][section].items()}
            settings |= request
            found = training_cases(
                datastore, self._study_file, Path(run.folder) / "readers", readers_mean=settings["readers_mean"]
            )
            cases = [case | {"clicks": datastore.first_clicks(case["image_id"])} for case in found]
            patients = {patient_of(case) for case in cases}
            folds = self._folds.assign(patients, settings["folds"], self._store.manifests())
            if COMPARE in request:
                self._compare(request[COMPARE], cases, folds, Path(run.folder))
            else:
                self._train(run, cases, folds, settings)
        return self.stats()

    def _measure(self, cases: Cases, folder: Path) -> Measure:
        """Return the measurement of versions on cases, which may write files into the folder of the run."""
        elsewhere = Elsewhere(self._cluster, folder) if self._cluster else None
        return partial(measure_clicks, cases=cases, model=self._model, elsewhere=elsewhere)

    def _compare(self, version: object, cases: Cases, folds: Mapping[str, int], folder: Path) -> None:
        verdict = compare(self._store, version, folds, self._measure(cases, folder), self._rule)
        conclusion = {"version": version, "verdict": verdict.as_dict(), "updated": time.time()}
        self._stats_file.write({**self.stats(), **conclusion})

    def _train(self, run: Run, cases: Cases, folds: Mapping[str, int], settings: Mapping[str, Any]) -> None:
        start = StartWeights(self._store, self._network)
        patients = {patient_of(case) for case in cases}
        usable = start.usable(folds)
        parts, loop = parts_of(patients, usable), _loop_settings(settings)
        progress = ClickProgress(self._stats_file, len(parts), loop)
        images, phantoms = self._images(cases, loop.seed), [click_phantom(number) for number in range(_PHANTOMS)]
        weights: dict[int | None, Path] = {}
        for part in parts:
            folder = Path(run.folder) / part.name
            data = self._data(part, images, phantoms)
            before = start.origin.state(part.fold)
            tuned = tune_clicks(before, data, loop, info=self._info, output=folder, report=progress.next)
            check_usable(self._network, tuned)
            mean = folder / "mean.pt"
            weights[part.fold] = save_mean(before, tuned, settings["click_trained_share"], mean)
        candidate = candidate_of(weights, start, usable, Path(run.folder))
        self._conclude(run, start, cases, candidate, settings, progress)

    def _conclude(
        self,
        run: Run,
        start: StartWeights,
        cases: Cases,
        candidate: Candidate,
        settings: Mapping[str, Any],
        progress: ClickProgress,
    ) -> None:
        """Compare the candidate with the serving version, keep it, and let it serve if it is better."""
        why = why_not_measured({patient_of(case) for case in cases}, self._folds, settings["folds"])
        measure = self._measure(cases, Path(run.folder))
        compared_with, _, verdict = compare_variants(self._store, {NETWORK: candidate}, measure, self._rule, why)
        verdict = with_clicks(still_valid(verdict, self._store, compared_with))
        version = keep(
            self._store,
            candidate,
            verdict,
            run=run,
            start=start,
            cases=cases,
            compared_with=compared_with,
            settings={name: settings[name] for name in (*self.config(), "folds", "seed")},
            rule=self._info["publish"],
        )
        progress.write(version=version, verdict=verdict.as_dict())

    def _images(self, cases: Cases, seed: int) -> list[LesionImage]:
        """Return the images of as many cases as half of the free memory holds, with the masks that are learned."""
        readers = max((reader_count(case) for case in cases), default=1)
        room = max(psutil.virtual_memory().available // 2 // (_BYTES_PER_SCAN + (readers - 1) * _BYTES_PER_MASK), 1)
        chosen = cases if len(cases) <= room else random.Random(seed).sample(cases, room)
        return [*opened([*map(learned, chosen)])]

    def _data(self, part: Part, images: list[LesionImage], phantoms: list[LesionImage]) -> ClickData:
        """Return what one of the trainings learns from."""
        smallest = self._info["preprocessing"]["field_mm"] / 2
        own = [image for image in images if image.patient in part.patients]
        return ClickData(
            crops=[image for image in own if not image.is_whole(smallest)],
            whole=[image for image in own if image.is_whole(smallest)],
            phantoms=phantoms,
            test_crops=[],
        )


def _loop_settings(settings: Mapping[str, Any]) -> LoopSettings:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return LoopSettings(
        steps=settings["click_steps"],
        learning_rate=settings["click_learning_rate"],
        cycles=1,
        batch_size=_BATCH_SIZE,
        seed=settings["seed"],
        save_every=_STEPS_PER_EPOCH,
        bfloat16=has_bfloat16(device),
    )
