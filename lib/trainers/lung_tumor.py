"""Train task of MONAI Label: from the labelled volumes of the datastore to a published version."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
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
from lib.publishing.hold_out import HoldOut
from lib.settings import check_request
from lib.trainers.comparison import COMPARE, compare
from lib.trainers.hold_out_split import split, why_none_held_out
from lib.trainers.kept_version import keep, origin
from lib.trainers.training_progress import TrainingProgress, stats_file
from lib.trainers.unfinished_run import UnfinishedRun
from lib.trainers.validation import Validation
from lib.transforms import image_transforms
from lib.transforms.augmentation import patch_transforms

logger = logging.getLogger(__name__)

_KEYS = ("image", "label")
_PREDICTION = ("pred", "label")
_BYTES_PER_CACHED_SCAN = 400_000_000  # 300 slices, single precision


class LungTumorTrainTask(BasicTrainTask):
    """Train the network on whole volumes, balanced between patches with and without tumour.

    Training starts from the version that serves. The candidate is the epoch with the best score on the whole volumes
    of the held-out patients (the last epoch without hold-out). The serving version is scored on them too, and the
    candidate replaces it only if it is not worse. The candidate is always kept; without held-out patients it serves
    only once a user chooses it.

    Args:
        model_dir: ``models/`` of the workspace; runs use ``runs/`` below it.
        model: The model without its weights.
        info: ``info.yaml``.
        store: Store of the versions.
        hold_out: Hold-out patients, which are never trained on.
        unfinished: Record of the running training.
    """

    def __init__(
        self,
        model_dir: str,
        model: ModelDescription,
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
        self._network = model.network()
        self._info = info
        self._model = model
        self._store = store
        self._hold_out = hold_out
        self._unfinished = unfinished
        self._stats_file = stats_file(Path(self._stats_path))
        self._parent: str | None = None

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any]:
        """Train on the labelled images of ``datastore`` (see ``BasicTrainTask``), or compare a version (see `compare`).

        Raises:
            UserError: A value of the request is invalid, or the training diverged.
        """
        check_request(self._info, "train", request)
        set_determinism(seed=int(request.get("seed", self._config["seed"])))
        with self._unfinished.new_run(Path(self._model_dir), request) as run:
            if COMPARE in request:
                self._compare(request, datastore)
            else:
                super().__call__({**request, "name": run.name, "tracking": "None"}, datastore)
        return self.stats()

    def stats(self) -> dict[str, Any]:
        """Return the progress of the current or last training, such as epoch, total_epochs and best_metric."""
        return self._stats_file.read() or {}

    def network(self, context: Context) -> nn.Module:
        """Return a network to train."""
        return copy.deepcopy(self._network)

    def load_path(self, output_dir: str, pretrained: bool = True) -> str | None:
        """Return the initial weights: a copy of the serving weights, written from the content verified by its hash."""
        if not pretrained or self._store.serving_version() is None:
            return None
        network = copy.deepcopy(self._network)
        self._parent = self._store.load_serving(network).version
        start = Path(output_dir) / "start.pt"
        torch.save({"model": network.state_dict()}, start)
        return str(start)

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
            ),
        ]

    def train_post_transforms(self, context: Context) -> Sequence[Callable]:
        """Return the transforms from logits to a mask, for the metrics."""
        return [Activationsd(keys="pred", sigmoid=True), AsDiscreted(keys="pred", threshold=0.5)]

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

    def pre_process(self, request: dict[str, Any], datastore: SeriesDatastore) -> list[dict[str, Any]]:
        """Return the labelled cases, with their volumes pinned in the cache, since each epoch reads them again."""
        return datastore.pinned_datalist()

    def partition_datalist(self, context: Context, shuffle: bool = False) -> tuple[list, list]:
        """Return the cases to train on, and those of the held-out patients."""
        train, held_out = self._split(context.datalist, float(context.request["val_split"]) > 0)
        if not train:
            raise UserError("There is nothing to train on: every labelled patient is held out. Label more patients.")
        return train, held_out

    def _split(self, cases: list[dict[str, Any]], wanted: bool) -> tuple[list, list]:
        return split(cases, self._hold_out, self._store.manifests()) if wanted else (cases, [])

    def finalize(self, context: Context) -> None:
        """Validate and report progress after each epoch and publish at the end, not after each as the base class."""
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
        """Create no evaluator: MONAI's would include slices and findings that inference removes."""

    def _dataset(self, context: Context, datalist: list, is_train: bool, replace_rate: float = 0.25) -> tuple:
        """Return the data set as the base class does, but limit its cache to half of the free memory."""
        if context.dataset_type != "CacheDataset":
            return super()._dataset(context, datalist, is_train, replace_rate)
        room = psutil.virtual_memory().available // 2 // _BYTES_PER_CACHED_SCAN
        transforms = self.train_pre_transforms(context)
        return CacheDataset(datalist, transforms, cache_num=max(room, 1), progress=False), datalist

    def _conclude(self, context: Context, validation: Validation, progress: TrainingProgress) -> None:
        """Compare the candidate with the serving version, keep it, and let it serve if it is not worse."""
        held_out, rule = context.val_datalist, self._info["publish"]
        candidate = validation.weights if held_out else Path(context.output_dir) / self._final_filename
        if held_out and validation.best is None:
            raise UserError("The training diverged: its output is not finite. A lower learning rate may help.")
        check_usable(self._network, candidate)
        compared_with, published = score_serving(self._store, held_out, self._model)
        verdict = judge(validation.best, published, **rule, no_hold_out_reason=self._no_hold_out_reason(context))
        manifest = {
            **origin(context.request["name"], context.train_datalist, held_out),
            "parent": self._parent,
            "compared_with": compared_with,
            "settings": {name: context.request[name] for name in self._info["config"]["train"]},
            "validations": validation.history,
            "rule": rule,
        }
        version = keep(self._store, candidate, manifest, verdict)
        progress.write(version=version, verdict=verdict.as_dict())

    def _no_hold_out_reason(self, context: Context) -> str:
        """Return why no patient is held out."""
        return why_none_held_out(
            context.datalist,
            self._hold_out,
            val_split=float(context.request["val_split"]),
            min_patients=self._config["hold_out_from_patients"],
        )

    def _compare(self, request: dict[str, Any], datastore: Datastore) -> None:
        _, held_out = self._split(self.pre_process(request, datastore), wanted=True)
        verdict = compare(self._store, request[COMPARE], held_out, self._model, self._info["publish"])
        conclusion = {"version": request[COMPARE], "verdict": verdict.as_dict()}
        self._stats_file.write({**self.stats(), **conclusion})
