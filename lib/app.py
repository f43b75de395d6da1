"""The MONAI Label app: which model, strategies and routes it offers, over which datastore."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
from monailabel.config import settings as server_settings
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask
from monailabel.tasks.activelearning.first import First
from monailabel.utils.async_tasks.utils import tasks

from lib.activelearning import Last, Leases, Random
from lib.configs.lung_tumor import LungTumor
from lib.datastore.series_datastore import SeriesDatastore
from lib.dicomweb.folder_client import FolderClient
from lib.dicomweb.folder_routes import folder_router
from lib.dicomweb.pacs import pacs_client, pacs_router
from lib.errors import UserError
from lib.infers.lung_tumor import ATTENTION
from lib.publishing import ModelStore
from lib.server.install import install
from lib.settings import Settings, is_url
from lib.trainers.parent_process import end_with_parent
from lib.trainers.retraining import Retraining

logger = logging.getLogger(__name__)

_FIRST_LOOK_SECONDS = 20


class MyApp(MONAILabelApp):
    """LungLabel as MONAI Label's server and its training process know it.

    Args:
        app_dir: This repository.
        studies: DICOM folder or DICOMweb URL.
        conf: Pairs of ``--conf NAME VALUE``.
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        try:
            self.settings = Settings.from_conf(studies, conf)
        except UserError as error:
            # Raised, it would end in a page of traceback of the server's start-up.
            print(f"\nLungLabel cannot start: {error}\n", file=sys.stderr, flush=True)
            os._exit(2)
        _prepare_server_settings(self.settings)
        self._leases = Leases(60 * self.settings.info["config"]["activelearning"]["lease_minutes"])
        self.models = ModelStore(self.settings.model_dir)
        self.task_config = LungTumor()
        self.task_config.init(
            LungTumor.NAME,
            str(self.settings.model_dir),
            conf,
            planner=None,
            app=self.settings,
            store=self.models,
        )
        info = self.settings.info
        super().__init__(
            app_dir=app_dir,
            studies=self.settings.studies,
            conf=conf,
            name=info["name"],
            description=info["description"],
            version=info["version"],
        )

    def init_datastore(self) -> Datastore:
        """One datastore for both: a folder's client and a PACS's have the same methods."""
        settings = self.settings
        if is_url(settings.studies):
            filters = server_settings.MONAI_LABEL_DICOMWEB_SEARCH_FILTER
            return SeriesDatastore(pacs_client(settings.studies), settings, filters)
        client = FolderClient(Path(settings.studies), settings.segs_dir, settings.cache_dir / "index.sqlite")
        return SeriesDatastore(client, settings)

    def init_infers(self) -> dict[str, InferTask]:
        """The model's infer task."""
        return {LungTumor.NAME: self.task_config.infer()}

    def init_trainers(self) -> dict[str, TrainTask]:
        """The model's train task."""
        return {LungTumor.NAME: self.task_config.trainer()}

    def init_strategies(self) -> dict[str, Strategy]:
        """How the next case is chosen."""
        return {"random": Random(), "first": First(), "last": Last()}

    def next_sample(self, request: dict[str, Any]) -> dict[str, Any]:
        """The image that a strategy chooses among those that nobody else was just offered.

        Raises:
            UserError: There is no such strategy.
        """
        strategy = self._strategies.get(request.get("strategy") or "random")
        if strategy is None:
            raise UserError(f"There is no strategy {request['strategy']!r}; there is {', '.join(self._strategies)}.")
        chosen = self._leases.choose(strategy, request, self.datastore())
        return {**chosen, "path": self.datastore().get_image_uri(chosen["id"])} if chosen else {}

    def on_init_complete(self) -> None:
        """Called in the server only: put our routes in front, watch the studies, wait for a first look."""
        super().on_init_complete()
        from monailabel.app import app as server  # the training process has no server to import

        datastore = self.datastore()
        self.retraining = self._retraining()
        self.retraining.start()
        install(server, self, self._dicomweb_router())
        logger.info("Studies: %s", self.settings.studies)
        logger.info("Workspace (labels and segs are precious, cache is not): %s", self.settings.workspace)
        if not datastore.watch().first_look.wait(_FIRST_LOOK_SECONDS):
            logger.info("Indexing goes on; the list grows meanwhile.")
        status = datastore.status()
        address = f"http://127.0.0.1:{server_settings.MONAI_LABEL_SERVER_PORT}"
        print(
            f"\n  LungLabel serves {status['total']} usable CT series ({status['left_out']} left out) of"
            f" {self.settings.studies}\n  OHIF:    {address}/ohif/\n  Status:  {address}/status\n  Slicer:  {address}"
            f"\n  Labels:  {self.settings.labels_dir}\n  Research use only, not a medical device.\n",
            flush=True,
        )

    def on_save_label(self, image_id: str, label_id: str) -> None:
        """Called after each submission."""
        super().on_save_label(image_id, label_id)
        self.retraining.wake()

    def info(self) -> dict[str, Any]:
        """What clients are told about this app, with the version of the model that serves."""
        return {**super().info(), "model_version": self.models.serving_version()}

    def infer(self, request: dict[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Segment an image of the datastore, or a file that was uploaded with the request.

        Raises:
            UserError: The image is neither; a path of the server's disk is never read.
        """
        image = request.get("image")
        if not self._was_uploaded(image):
            self.datastore().series(str(image))
        return super().infer(request, datastore)

    def mask_and_attention(self, image: str) -> tuple[np.ndarray, np.ndarray]:
        """Mask and attention map (eq. 6) of an image, voxel for voxel (column, row, slice), from one run."""
        request = {"model": LungTumor.NAME, "image": image, "attention": True, "skip_writer": True}
        data = self.infer(request)["params"]
        return np.asarray(data["pred"]), np.asarray(data[ATTENTION])

    def train(self, request: dict[str, Any]) -> dict[str, Any]:
        """Train on what is labelled.

        Raises:
            UserError: Nothing is labelled yet.
        """
        self.check_trainable()
        if not self._server_mode:
            end_with_parent()
        return super().train(request)

    def check_trainable(self) -> None:
        """Raise a UserError when there is nothing to train on."""
        if not self.datastore().get_labeled_images():
            raise UserError(
                "There is nothing to train on: no image is labelled yet. Open one, correct the mask, submit it, "
                "then train.",
                HTTPStatus.CONFLICT,
            )

    def _retraining(self) -> Retraining:
        store = self.datastore().labels

        def labels() -> dict[str, str]:
            return {uid: store.latest(uid, "final").sha256 for uid in self.datastore().get_labeled_images()}

        def trained() -> dict[str, str]:
            runs = [manifest["labels"] for manifest in self.models.manifests() if "labels" in manifest]
            return runs[-1] if runs else {}

        def running() -> bool:
            return any(task["status"] in ("SUBMITTED", "RUNNING") for task in tasks("train"))

        return Retraining(
            self.settings.info["config"]["train"]["retrain_after"],
            labels=labels,
            trained=trained,
            running=running,
            start=lambda: self.async_training(LungTumor.NAME),
        )

    @property
    def uploads_dir(self) -> Path:
        """Where files sent with a request wait for their inference."""
        return self.settings.cache_dir / "uploads"

    def _was_uploaded(self, image: object) -> bool:
        folders = (self.uploads_dir, Path(server_settings.MONAI_LABEL_SESSION_PATH))
        return isinstance(image, str) and any(
            Path(image).resolve().is_relative_to(folder.resolve()) and Path(image).exists() for folder in folders
        )

    def _dicomweb_router(self) -> Callable:
        client = self.datastore().client
        if isinstance(client, FolderClient):
            return folder_router(client)
        return pacs_router(self.settings.studies)


def _prepare_server_settings(settings: Settings) -> None:
    """Switch what a user of this app would else have to switch by environment variables."""
    server_settings.MONAI_LABEL_TRACKING_ENABLED = False  # MLflow refuses its file store: training would fail
    server_settings.MONAI_LABEL_AUTO_UPDATE_SCORING = False
    server_settings.MONAI_LABEL_INFER_CONCURRENCY = 1  # one network on one device at a time
    server_settings.MONAI_LABEL_INFER_TIMEOUT = 3600  # a large scan on a slow CPU is no error
    server_settings.MONAI_LABEL_SESSION_PATH = str(settings.cache_dir / "sessions")
    (settings.cache_dir / "uploads").mkdir(parents=True, exist_ok=True)
