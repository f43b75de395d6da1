"""Train task of MONAI Label: from the labelled volumes of the datastore to a published version."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from monai.data import CacheDataset
from monai.handlers import IgniteMetricHandler, LrScheduleHandler, StatsHandler, from_engine
from monai.inferers import Inferer
from monai.metrics import DiceMetric
from monai.transforms import Activationsd, AsDiscreted
from monai.utils import set_determinism
from monailabel.interfaces.datastore import Datastore
from monailabel.tasks.train.basic_train import BasicTrainTask, Context
from torch import nn
from torch.utils.data import Subset

from lib.cluster.background import BackgroundCluster
from lib.datastore.series_datastore import SeriesDatastore
from lib.inference import ModelDescription
from lib.losses import HybridLoss
from lib.networks.weights import check_usable
from lib.publishing import ModelStore
from lib.publishing.folds import Folds, patient_of
from lib.reading.reader_means import TARGET, learned, training_cases
from lib.settings import check_request
from lib.trainers.all_gpus import connect, disconnect, gpus_for, restart_on
from lib.trainers.candidate import Part, candidate_of, parts_of
from lib.trainers.comparison import COMPARE, compare
from lib.trainers.conclusion import Conclusion, Trained
from lib.trainers.start_weights import StartWeights, save, save_mean, trained_share
from lib.trainers.training_progress import TrainingProgress, stats_file
from lib.trainers.unfinished_run import Run, UnfinishedRun
from lib.training.processes import Processes, SharingInferer
from lib.transforms import image_transforms
from lib.transforms.augmentation import patch_transforms

_KEYS = ("image", "label")
_PREDICTION = ("pred", "label")
_BYTES_PER_CACHED_SCAN = 400_000_000  # 300 slices, single precision


class LungTumorTrainTask(BasicTrainTask):
    """Train the network on whole volumes, balanced between patches with and without tumour.

    Training starts from the origin of the version that serves, see `StartWeights`, and its result is averaged with that
    (``prior_patients``), because a training on a few scans loses the outlines of others (docs/method.md). The same is
    repeated without each fold of the patients, so that candidate and serving version are compared on patients that
    neither was trained on; see `Folds`. Then the second stage learns the candidates of the new networks; see
    `Conclusion`. What was learned is always kept, and serves if it is better.

    Args:
        model_dir: ``models/`` of the workspace; runs use ``runs/`` below it.
        model: The model without its weights.
        info: ``info.yaml``.
        store: Store of the versions.
        folds: Folds of the patients.
        unfinished: Record of the running training.
        study_file: The study that the server serves; None without one.
        cluster: Where the gate measures while it is there; None to measure in this process.
    """

    def __init__(
        self,
        model_dir: str,
        model: ModelDescription,
        info: dict[str, Any],
        store: ModelStore,
        folds: Folds,
        unfinished: UnfinishedRun,
        study_file: Path | None = None,
        cluster: BackgroundCluster | None = None,
    ) -> None:
        folder = Path(model_dir)
        super().__init__(
            str(store.runs),
            description=info["description"],
            config={
                **info["config"]["train"],
                "multi_gpu": False,
                "train_batch_size": 1,
                "val_batch_size": 1,
                "dataset": "CacheDataset",
                "tracking": "None",
            },
            amp=torch.cuda.is_available(),
            stats_path=str(folder / "train_stats.json"),
            train_save_interval=0,
            n_saved=1,
            load_strict=True,
            labels=info["labels"],
            tracking=None,
        )
        self._network = model.network()
        self._info = info
        self._store = store
        self._folds = folds
        self._unfinished = unfinished
        self._study_file = study_file
        self._stats_file = stats_file(Path(self._stats_path))
        self._conclusion = Conclusion(model, info, store, folds, cluster)
        # Of the training in progress:
        self._cases: list[dict[str, Any]] = []
        self._cache: CacheDataset | None = None
        self._start: StartWeights | None = None
        self._part: Part | None = None
        self._progress: TrainingProgress | None = None
        self._processes = Processes.alone()

    def __call__(self, request: dict[str, Any], datastore: SeriesDatastore) -> dict[str, Any]:
        """Train on the labelled images of ``datastore`` (see ``BasicTrainTask``), or compare a version (see `compare`).

        On a machine with several GPUs, a training process of the server is replaced by one for each of them.

        Raises:
            UserError: A value of the request is invalid, or the training diverged.
        """
        check_request(self._info, "train", request)
        settings = {**self._config, **request}
        if COMPARE not in request:
            restart_on(gpus_for(int(settings["patches_per_volume"]), settings["device"]))
        self._processes = connect()
        if not self._processes.is_first:
            self._assist(datastore)
            return {}
        set_determinism(seed=int(settings["seed"]))
        with self._unfinished.new_run(Path(self._model_dir), request) as run:
            self._cases = training_cases(
                datastore, self._study_file, Path(run.folder) / "readers", readers_mean=settings["readers_mean"]
            )
            self._cache = None
            folds = self._folds_of(settings)
            if COMPARE in request:
                self._compare(request[COMPARE], folds, Path(run.folder))
            else:
                trained = self._train(run, settings, folds, datastore)
                assert self._progress
                version, verdict = self._conclusion.draw(trained, datastore, self._progress.measured)
                self._progress.write(version=version, verdict=verdict.as_dict())
        return self.stats()

    def config(self) -> dict[str, Any]:
        """Return the settings that a request can override, without those that have no effect here."""
        without = {"retrain_after"} if self._study_file else {"retrain_after", "readers_mean"}
        names = [*self._info["config"]["train"].keys() - without, "pretrained", "device"]
        return {name: self._config[name] for name in self._config if name in names}

    def stats(self) -> dict[str, Any]:
        """Return the progress of the current or last training, such as epoch, total_epochs and best_metric."""
        return self._stats_file.read() or {}

    def network(self, context: Context) -> nn.Module:
        """Return a network to train."""
        return copy.deepcopy(self._network)

    def load_path(self, output_dir: str, pretrained: bool = True) -> str | None:
        """Return the initial weights: a copy of those of the origin of the version in use."""
        path = Path(output_dir) / "start.pt"
        if self._processes.is_first:
            assert self._start and self._part
            if self._start.version is not None:
                save(self._start.origin.state(self._part.fold), path)
        self._processes.wait()
        return str(path) if path.exists() else None

    def optimizer(self, context: Context) -> torch.optim.Optimizer:
        """Return Adam (eq. 5)."""
        return torch.optim.Adam(context.network.parameters(), lr=float(context.request["learning_rate"]))

    def lr_scheduler_handler(self, context: Context) -> LrScheduleHandler:
        """Return a cosine schedule to zero over the epochs, so that the last weights are usable."""
        schedule: Any = torch.optim.lr_scheduler.CosineAnnealingLR(context.optimizer, T_max=context.max_epochs)
        return LrScheduleHandler(schedule, print_lr=False)

    def loss_function(self, context: Context) -> nn.Module:
        """Return the hybrid loss (eq. 9)."""
        request = context.request
        return HybridLoss(request["loss_lambda"], request["focal_gamma"], request["focal_alpha"])

    def train_pre_transforms(self, context: Context) -> Sequence[Callable]:
        """Return the transforms shared with inference, then those that draw and augment patches."""
        preprocessing = self._info["preprocessing"]
        return [
            *image_transforms(preprocessing, keys=_KEYS),
            *patch_transforms(
                preprocessing,
                patch_size=int(context.request["patch_size"]),
                count=int(context.request["patches_per_volume"]),
                keys=_KEYS,
                soft=any(TARGET in case for case in self._cases),
            ),
        ]

    def train_post_transforms(self, context: Context) -> Sequence[Callable]:
        """Return the transforms from logits to a mask, for the metrics."""
        return [Activationsd(keys="pred", sigmoid=True), AsDiscreted(keys="pred", threshold=0.5)]

    def train_inferer(self, context: Context) -> Inferer:
        """Return the inferer, which divides a batch among the processes of this training."""
        one = self._processes.count == 1
        return super().train_inferer(context) if one else SharingInferer(self._processes, context.network)

    def val_inferer(self, context: Context) -> Inferer:
        """Raise NotImplementedError: abstract in the base class, but ``Validation`` replaces MONAI's evaluator."""
        raise NotImplementedError

    def train_key_metric(self, context: Context) -> dict[str, IgniteMetricHandler]:
        """Return the Dice metric over the patches."""
        dice = DiceMetric(ignore_empty=False)
        return {self.TRAIN_METRIC_MEAN_DICE: IgniteMetricHandler(dice, output_transform=from_engine(_PREDICTION))}

    def train_handlers(self, context: Context) -> list[Any]:
        """Return the handlers for log and learning rate; those of the base class would import TensorBoard."""
        return [self.lr_scheduler_handler(context), StatsHandler(iteration_log=False)]

    def pre_process(self, request: dict[str, Any], datastore: Datastore) -> list[dict[str, Any]]:
        """Return the labelled cases, which are the same for all trainings of a candidate."""
        return self._cases

    def partition_datalist(self, context: Context, shuffle: bool = False) -> tuple[list, list]:
        """Return the cases to train on, and none to validate on: nothing is selected by scores during a training."""
        assert self._part
        return [case for case in context.datalist if patient_of(case) in self._part.patients], []

    def finalize(self, context: Context) -> None:
        """Report progress after each epoch; the base class would also publish the model."""
        if self._processes.is_first:
            assert self._progress
            self._progress.follow(context)

    def _device(self, context: Context) -> torch.device:
        return super()._device(context) if self._processes.count == 1 else self._processes.device

    def train(self, rank: int, world_size: int, request: dict[str, Any], datalist: list) -> dict[str, Any]:
        """Train in this process; the first of several alone writes files."""
        return super().train(self._processes.rank, world_size, request, datalist)

    def _create_evaluator(self, context: Context) -> None:
        """Create no evaluator, since there are no cases to validate on."""

    def _dataset(self, context: Context, datalist: list, is_train: bool, replace_rate: float = 0.25) -> tuple:
        """Return the data set; all trainings of a candidate share one cache, of at most half of the free memory."""
        if context.dataset_type != "CacheDataset":
            return super()._dataset(context, [*map(learned, datalist)], is_train, replace_rate)
        if self._cache is None:
            room = psutil.virtual_memory().available // (2 * self._processes.count) // _BYTES_PER_CACHED_SCAN
            transforms = self.train_pre_transforms(context)
            self._cache = CacheDataset([*map(learned, self._cases)], transforms, cache_num=max(room, 1), progress=False)
        return Subset(self._cache, [self._cases.index(case) for case in datalist]), datalist

    def _folds_of(self, settings: Mapping[str, Any]) -> dict[str, int]:
        """Return the folds of the labelled patients."""
        patients = {patient_of(case) for case in self._cases}
        return self._folds.assign(patients, settings["folds"], self._store.manifests())

    def _compare(self, version: object, folds: Mapping[str, int], folder: Path) -> None:
        measure = partial(self._conclusion.measure, cases=self._cases, folder=folder)
        verdict = compare(self._store, version, folds, measure, self._conclusion.rule)
        conclusion = {"version": version, "verdict": verdict.as_dict(), "updated": time.time()}
        self._stats_file.write({**self.stats(), **conclusion})

    def _train(self, run: Run, settings: Mapping[str, Any], folds: Mapping[str, int], datastore: Datastore) -> Trained:
        """Train with all patients, and without each fold."""
        start = self._start = StartWeights(self._store, self._network, bool(settings.get("pretrained", True)))
        usable = start.usable(folds)
        parts = parts_of({patient_of(case) for case in self._cases}, usable)
        self._progress = TrainingProgress(self._stats_file, len(parts) * settings["max_epochs"])
        self._processes.of_first((run, settings, self._cases, parts))
        weights = {part.fold: self._fit(part, run, settings, datastore) for part in parts}
        disconnect(self._processes)  # the others have nothing more to do
        candidate = candidate_of(weights, start, usable, Path(run.folder))
        return Trained(run, settings, start, parts, candidate, self._cases)

    def _fit(self, part: Part, run: Run, settings: Mapping[str, Any], datastore: Datastore) -> Path:
        """Do one training, and return its weights, averaged with those it started from."""
        self._optimise(part, run, settings, datastore)
        folder = Path(run.folder) / part.name
        trained = folder / self._final_filename
        check_usable(self._network, trained)
        start = self._start
        assert start
        if start.version is None:
            return trained
        judge = start.in_use.judge(part.fold)
        share = trained_share(len(part.patients), settings["prior_patients"])
        return save_mean(start.origin.state(part.fold), trained, share, folder / "mean.pt", judge)

    def _optimise(self, part: Part, run: Run, settings: Mapping[str, Any], datastore: Datastore) -> None:
        set_determinism(seed=int(settings["seed"]))
        self._part = part
        own = {"name": f"{run.name}/{part.name}", "tracking": "None", "multi_gpu": False}
        super().__call__({**run.request, **own}, datastore)

    def _assist(self, datastore: Datastore) -> None:
        """Compute this process' share of the trainings that the first process does."""
        run, settings, self._cases, parts = self._processes.of_first(None)
        try:
            for part in parts:
                self._optimise(part, run, settings, datastore)
        except Exception:  # for which the first process is ended, without the chance to remove its record
            self._unfinished.give_up(run)
            raise
        disconnect(self._processes)
