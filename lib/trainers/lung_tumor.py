"""MONAI Label's train task: from the labelled volumes of the datastore to a published version."""

from __future__ import annotations

import copy
import logging
import shutil
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import torch
from ignite.engine import Events
from monai.data import CacheDataset
from monai.handlers import IgniteMetricHandler, LrScheduleHandler, StatsHandler, from_engine
from monai.inferers import Inferer
from monai.metrics import DiceMetric
from monai.transforms import Activationsd, AsDiscreted
from monai.utils import set_determinism
from monailabel.interfaces.datastore import Datastore
from monailabel.tasks.train.basic_train import BasicTrainTask, Context
from torch import nn

from lib.datastore.series_datastore import SeriesDatastore
from lib.errors import UserError
from lib.inference import ModelDescription
from lib.losses import HybridLoss
from lib.networks.weights import check_usable
from lib.publishing import ModelStore
from lib.publishing.gate import judge
from lib.publishing.held_out_scores import score_serving
from lib.publishing.hold_out import HoldOut, patient_of
from lib.settings import check_request
from lib.trainers.comparison import COMPARE, compare
from lib.trainers.retraining import INTERRUPTIONS
from lib.trainers.training_progress import TrainingProgress, stats_file
from lib.trainers.unfinished_run import Run, UnfinishedRun
from lib.trainers.validation import Validation
from lib.transforms import image_transforms
from lib.transforms.augmentation import patch_transforms

logger = logging.getLogger(__name__)

_KEYS = ("image", "label")
_PREDICTION = ("pred", "label")
_BYTES_OF_A_CACHED_SCAN = 400_000_000  # 300 slices, as single precision


class LungTumorTrainTask(BasicTrainTask):
    """Trains the network on whole volumes, balanced between patches with and without tumour.

    It starts from the version that serves. Its candidate is the epoch that was best on the whole volumes of the
    patients held out (the last epoch where there are none); the version that serves is scored on them too, and
    only if the candidate is not worse, it serves. It is kept in any case. Without patients held out it is kept and
    does not serve until somebody says so.

    Args:
        model_dir: ``models/`` of the workspace; runs work in ``runs/`` below it.
        network: The untrained network.
        info: ``info.yaml``.
        store: Where versions are kept.
        hold_out: Which patients are never trained on.
        unfinished: Where a training is noted while it runs.
    """

    def __init__(
        self,
        model_dir: str,
        network: nn.Module,
        info: dict[str, Any],
        store: ModelStore,
        hold_out: HoldOut,
        unfinished: UnfinishedRun,
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
        self._network = network
        self._info = info
        self._model = ModelDescription.from_info(info)
        self._store = store
        self._hold_out = hold_out
        self._unfinished = unfinished
        self._stats_file = stats_file(Path(self._stats_path))
        self._parent: str | None = None

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train on what is labelled in ``datastore``; see ``BasicTrainTask``. Or compare a version: see `compare`.

        Raises:
            UserError: A value of the request makes no sense, or the training diverged.
        """
        check_request(self._info, "train", request)
        name = datetime.now().strftime("%Y%m%d-%H%M%S-%f")
        set_determinism(seed=int(request.get("seed", self._config["seed"])))
        run = Run(name, str(Path(self._model_dir) / name), request, request.get(INTERRUPTIONS, 0))
        with self._unfinished.noted(run):
            shutil.rmtree(self._model_dir, ignore_errors=True)  # of runs whose note was lost
            if COMPARE in request:
                self._compare(request, datastore)
            else:
                super().__call__({**request, "name": name, "tracking": "None"}, datastore)
        return self.stats()

    def stats(self) -> dict[str, Any]:
        """Return the progress of the running or the last training: epoch, total_epochs, best_metric and so on."""
        return self._stats_file.read() or {}

    def network(self, context: Context) -> nn.Module:
        """A network to train."""
        return copy.deepcopy(self._network)

    def load_path(self, output_dir: str, pretrained: bool = True) -> str | None:
        """Weights to start from: a copy of those that serve, made from what was compared with their hash."""
        if not pretrained or self._store.serving_version() is None:
            return None
        network = copy.deepcopy(self._network)
        self._parent = self._store.load_serving(network).version
        start = Path(output_dir) / "start.pt"
        torch.save({"model": network.state_dict()}, start)
        return str(start)

    def optimizer(self, context: Context) -> torch.optim.Optimizer:
        """Adam (eq. 5)."""
        return torch.optim.Adam(context.network.parameters(), lr=float(context.request["learning_rate"]))

    def lr_scheduler_handler(self, context: Context) -> LrScheduleHandler:
        """The learning rate falls to zero over the epochs, so that the last weights are the ones to keep."""
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(context.optimizer, T_max=context.max_epochs)
        return LrScheduleHandler(schedule, print_lr=False)

    def loss_function(self, context: Context) -> nn.Module:
        """The hybrid loss (eq. 9)."""
        request = context.request
        return HybridLoss(request["loss_lambda"], request["focal_gamma"], request["focal_alpha"])

    def train_pre_transforms(self, context: Context) -> Sequence[Callable]:
        """The transforms shared with inference, then patches, then what other scanners would change."""
        preprocessing = self._info["preprocessing"]
        return [
            *image_transforms(preprocessing, keys=_KEYS),
            *patch_transforms(
                preprocessing,
                patch_size=int(context.request["patch_size"]),
                count=int(context.request["patches_per_volume"]),
                keys=_KEYS,
            ),
        ]

    def train_post_transforms(self, context: Context) -> Sequence[Callable]:
        """From logits to a mask, for the metrics."""
        return [Activationsd(keys="pred", sigmoid=True), AsDiscreted(keys="pred", threshold=0.5)]

    def val_inferer(self, context: Context) -> Inferer:
        """Demanded by the base class and never asked for: ``Validation`` scores as the gate does."""
        raise NotImplementedError

    def train_key_metric(self, context: Context) -> dict[str, IgniteMetricHandler]:
        """Dice over the patches."""
        dice = DiceMetric(ignore_empty=False)
        return {self.TRAIN_METRIC_MEAN_DICE: IgniteMetricHandler(dice, output_transform=from_engine(_PREDICTION))}

    def train_handlers(self, context: Context) -> list[Any]:
        """Log and learning rate; the base class's would import TensorBoard."""
        return [self.lr_scheduler_handler(context), StatsHandler(iteration_log=False)]

    def pre_process(self, request: dict[str, Any], datastore: SeriesDatastore) -> list[dict[str, Any]]:
        """What is labelled; its volumes stay in the cache, since each epoch reads them again."""
        return datastore.kept_datalist()

    def partition_datalist(self, context: Context, shuffle: bool = False) -> tuple[list, list]:
        """Cases to train on, and those of the patients held out."""
        train, held_out = self._split(context.datalist, float(context.request["val_split"]) > 0)
        if not train:
            raise UserError("There is nothing to train on: every labelled patient is held out. Label more patients.")
        return train, held_out

    def _split(self, cases: list[dict[str, Any]], wanted: bool) -> tuple[list, list]:
        manifests = self._store.manifests()
        trained_on = {patient for manifest in manifests for patient in manifest.get("trained_on", [])}
        compared_on = {patient for manifest in manifests for patient in manifest.get("held_out", [])}
        labelled = {patient_of(case) for case in cases}
        held = self._hold_out.patients(labelled, trained_on, compared_on) if wanted else set()
        return (
            [case for case in cases if patient_of(case) not in held],
            [case for case in cases if patient_of(case) in held],
        )

    def finalize(self, context: Context) -> None:
        """Validate, report progress after each epoch, publish at the end; the base class publishes after each."""
        validation = Validation(
            context.network,
            context.val_datalist,
            self._model,
            Path(context.output_dir),
            interval=int(context.request["val_interval"]),
            patience=int(context.request["early_stop_patience"]),
        )
        progress = TrainingProgress(self._stats_file, context, validation)
        progress.write()
        context.trainer.add_event_handler(Events.EPOCH_COMPLETED, validation)
        context.trainer.add_event_handler(Events.EPOCH_COMPLETED, progress.write)
        context.trainer.add_event_handler(Events.COMPLETED, lambda: self._conclude(context, validation, progress))

    def _create_evaluator(self, context: Context) -> None:
        """None: MONAI's would run the network over slices that inference leaves out, and keep what it removes."""

    def _dataset(self, context: Context, datalist: list, is_train: bool, replace_rate: float = 0.25) -> tuple:
        """As the base class, but what is cached stays within half of the free memory."""
        if context.dataset_type != "CacheDataset":
            return super()._dataset(context, datalist, is_train, replace_rate)
        room = psutil.virtual_memory().available // 2 // _BYTES_OF_A_CACHED_SCAN
        transforms = self.train_pre_transforms(context)
        return CacheDataset(datalist, transforms, cache_num=max(room, 1), progress=False), datalist

    def _conclude(self, context: Context, validation: Validation, progress: TrainingProgress) -> None:
        """Compare the candidate with what serves, keep it, and let it serve if it is not worse."""
        held_out, rule = context.val_datalist, self._info["publish"]
        candidate = validation.weights if held_out else Path(context.output_dir) / self._final_filename
        if held_out and validation.best is None:
            raise UserError("The training diverged: the network gives no numbers. A lower learning rate may help.")
        check_usable(self._network, candidate)
        compared_with, published = score_serving(self._store, held_out, self._model)
        verdict = judge(validation.best, published, **rule, nobody_held_out=self._why_nobody(context.request))
        manifest = {
            "run": context.request["name"],
            "parent": self._parent,
            "compared_with": compared_with,
            "trained_on": sorted({patient_of(case) for case in context.train_datalist}),
            "held_out": sorted({patient_of(case) for case in held_out}),
            "labels": {case.get("image_id", case["image"]): case.get("label_sha256") for case in context.datalist},
            "settings": {name: context.request[name] for name in self._info["config"]["train"]},
            "validations": validation.history,
            "rule": rule,
            "verdict": verdict.as_dict(),
        }
        version = self._store.keep(candidate, manifest)
        if verdict.publish:
            self._store.serve(version, by=f"training {context.request['name']}", why=verdict.reason)
        logger.info("Version %s: %s", version, verdict.reason)
        progress.write(version=version, verdict=verdict.as_dict())

    def _why_nobody(self, request: dict[str, Any]) -> str:
        """Why nobody is held out, where that is so."""
        if float(request["val_split"]) <= 0:
            return "val_split is 0, so that no patient is held out"
        return f"fewer than {self._config['hold_out_from_patients']} patients are labelled, so that none is held out"

    def _compare(self, request: dict[str, Any], datastore: Datastore) -> None:
        _, held_out = self._split(self.pre_process(request, datastore), wanted=True)
        verdict = compare(self._store, request[COMPARE], held_out, self._info)
        conclusion = {"version": request[COMPARE], "verdict": verdict.as_dict()}
        self._stats_file.write({**self.stats(), **conclusion})
