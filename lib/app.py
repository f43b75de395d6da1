"""The MONAI Label app: which model, strategies and routes it offers, over which datastore."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
from monailabel.config import settings as server_settings
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask
from monailabel.interfaces.utils.app import apps
from monailabel.tasks.activelearning.first import First
from monailabel.utils.async_tasks.utils import tasks

from lib.activelearning import Last, Leases, MostDoubtful, Random, Review
from lib.activelearning.background import BackgroundScoring, Courtesy
from lib.activelearning.uncertainty_scoring import DoubtScoring
from lib.configs.lung_tumor import LungTumor
from lib.datastore.opening import open_datastore
from lib.dicomweb.folder_client import FolderClient
from lib.dicomweb.login import mask_login
from lib.dicomweb.pacs_hidden import Hidden
from lib.errors import UserError
from lib.exports.label_exports import LabelExports
from lib.exports.seg_storage import SegStorage
from lib.infers.lung_tumor import ATTENTION
from lib.initial_labels.initial_labels import InitialLabels
from lib.processes.parent_process import mark_as_server
from lib.processes.priority import start_shared_threads
from lib.publishing import ModelStore
from lib.publishing.adoption import missing_versions
from lib.publishing.model_store import PRETRAINED_FILE
from lib.server.access.rules import rules_at_start
from lib.server.folder_routes import folder_router
from lib.server.install import install
from lib.server.log_file import move_log
from lib.server.log_rules import apply_log_rules
from lib.server.pacs_routes import pacs_router
from lib.server.sessions import TolerantSessions
from lib.server.surroundings import work_in
from lib.server.work_queue import WorkQueue
from lib.settings import APP_DIR, Settings, check_request
from lib.storage.atomic import remove_leftovers
from lib.storage.integrity import Damage
from lib.trainers.retraining import Retraining
from lib.trainers.unfinished_run import UnfinishedRun
from lib.verification import Remembered
from lib.workspace import exit_on_startup_error, is_server, open_workspace

logger = logging.getLogger(__name__)

_FIRST_LOOK_SECONDS = 20
_UNCERTAINTY = "uncertainty"


class MyApp(MONAILabelApp):
    """LungLabel as MONAI Label's server and its training process know it.

    Args:
        app_dir: This repository.
        studies: DICOM folder or DICOMweb URL.
        conf: Pairs of ``--conf NAME VALUE``.
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        mask_login(studies, Path(app_dir) / "logs")  # also where the start is refused
        try:
            self.settings = Settings.from_conf(studies, conf)
            self._access = rules_at_start(self.settings.info["config"]["server"])
        except UserError as error:
            # Raised, it would end in a page of traceback of the server's start-up.
            problems = "\n".join(f"  {problem}" for problem in str(error).splitlines())
            print(f"\nLungLabel cannot start:\n{problems}\n", file=sys.stderr, flush=True)
            os._exit(2)
        if self.settings.login:
            apps[f"{app_dir}{self.settings.studies}"] = self  # by which MONAI Label finds it from now on
        with exit_on_startup_error():
            self._claim = open_workspace(self.settings)
            if is_server():
                os.umask(0o077)  # for what MONAI Label, SQLite and the training process write
                move_log(self.settings.workspace)
            _prepare_server_settings(self.settings)
        self.models = ModelStore(self.settings.models_dir, self.settings.model_dir / PRETRAINED_FILE)
        choice = self.settings.info["config"]["activelearning"]
        self._leases = Leases(60 * choice["lease_minutes"])
        self.inferences = WorkQueue("inferences")
        self._courtesy = Courtesy(lambda: _running("train") or _running("scoring"))
        self._scoring = DoubtScoring(
            _UNCERTAINTY,
            self.settings.info,
            self.models,
            self.settings.cache_dir / "scores",
            at_most=choice["scored_images"],
            before_each_batch=self._courtesy.stand_aside,
        )
        self._review = Review(self._scoring.disagreements)
        self._damage = Remembered(lambda: [*self.datastore().damage(), *self.models.damage()])
        self._unfinished = UnfinishedRun(self.settings.workspace / "training.json")
        self.task_config = LungTumor()
        self.task_config.init(
            LungTumor.NAME,
            str(self.settings.models_dir),
            conf,
            planner=None,
            app=self.settings,
            store=self.models,
            unfinished=self._unfinished,
        )
        info = self.settings.info
        with exit_on_startup_error():
            super().__init__(
                app_dir=app_dir,
                studies=self.settings.studies,
                conf=conf,
                name=info["name"],
                description=info["description"],
                version=info["version"],
            )

    def _load_sessions(self, load: bool = False) -> TolerantSessions | None:
        stock = super()._load_sessions(load)
        return None if stock is None else TolerantSessions(stock.store_path, stock.expiry)

    def init_datastore(self) -> Datastore:
        """The series of the folder or PACS."""
        return open_datastore(self.settings, server_settings.MONAI_LABEL_DICOMWEB_SEARCH_FILTER)

    def init_infers(self) -> dict[str, InferTask]:
        """The model's infer task."""
        return {LungTumor.NAME: self.task_config.infer()}

    def init_trainers(self) -> dict[str, TrainTask]:
        """The model's train task."""
        return {LungTumor.NAME: self.task_config.trainer()}

    def init_strategies(self) -> dict[str, Strategy]:
        """How the next case is chosen."""
        doubtful = MostDoubtful("Get the sample that the model doubts most", self._scoring.doubts)
        return {"random": Random(), "first": First(), "last": Last(), _UNCERTAINTY: doubtful}

    def init_scoring_methods(self) -> dict[str, ScoringMethod]:
        """What the strategies choose by; the server scores by itself, ``POST /scoring`` does all of it at once."""
        return {_UNCERTAINTY: self._scoring}

    def next_sample(self, request: dict[str, Any]) -> dict[str, Any]:
        """The image that a strategy chooses among those that nobody else was just offered.

        Once all are labelled, a labelled one is offered again, with ``review`` true: see `Review`.

        Raises:
            UserError: There is no such strategy.
        """
        strategy = self._strategies.get(request.get("strategy") or "random")
        if strategy is None:
            raise UserError(f"There is no strategy {request['strategy']!r}; there is {', '.join(self._strategies)}.")
        chosen = self._leases.choose(strategy, request, self.datastore())
        if not chosen and not self.datastore().get_unlabeled_images():
            chosen = self._leases.choose(self._review, request, self.datastore())
        return {**chosen, "path": self.datastore().get_image_uri(chosen["id"])} if chosen else {}

    def doubts(self) -> dict[str, float]:
        """How much the model doubts each image that is scored, 0 to 1: what the strategy ``uncertainty`` chooses by."""
        return self._scoring.doubts()

    def damage(self) -> list[Damage]:
        """What is damaged of all that is stored, but for labels that newer ones have replaced."""
        return self._damage()

    def on_init_complete(self) -> None:
        """Called in the server only: put our routes in front, watch the studies, wait for a first look."""
        super().on_init_complete()
        from monailabel.app import app as server  # the training process has no server to import

        mark_as_server()
        start_shared_threads()
        with exit_on_startup_error():
            remove_leftovers(self.settings.workspace)
            self.models.recover()
        self._tell_of_versions_left_behind()
        datastore = self.datastore()
        self.retraining = self._retraining()
        self.exports = LabelExports(datastore, self.settings.info)
        self.segs = SegStorage(datastore, self.exports, self.settings.info["config"]["export"]["store_in_pacs"])
        apply_log_rules()
        work_in(APP_DIR, self.settings.temporary_dir)
        install(server, self, self._dicomweb_router(), self._access)
        logger.info("Studies: %s", self.settings.studies)
        logger.info("Workspace (labels, segs and models are precious, cache is not): %s", self.settings.workspace)
        initial_labels = InitialLabels(datastore, self.settings.info["imports"])
        initial_labels.start()
        if not datastore.watch(initial_labels.wake).first_look.wait(_FIRST_LOOK_SECONDS):
            logger.info("Indexing goes on; the list grows meanwhile.")
        self._damage.renew()  # hashes all that is stored: what is asked for later is compared with this
        self.retraining.start()
        self.segs.start()
        BackgroundScoring(self._scoring, datastore, self._courtesy).start()
        status = datastore.status()
        address = self._access.listening.url
        print(
            f"\n  LungLabel serves {status['total']} usable CT series ({status['left_out']} left out) of"
            f" {self.settings.studies}\n  OHIF:    {address}/ohif/\n  Status:  {address}/status\n  Slicer:  {address}"
            f"\n  Labels:  {self.settings.labels_dir}"
            '\n  Web pages of other sites may not use this server, whatever "Allow Origins" above says.'
            "\n  Research use only, not a medical device.\n",
            flush=True,
        )
        if self.network_warning:
            print(f"  WARNING: {self.network_warning}\n", file=sys.stderr, flush=True)
            logger.warning("%s", self.network_warning)

    @property
    def network_warning(self) -> str | None:
        """What must be said where others can reach this server; None where they cannot."""
        return self._access.network_warning if self._access else None

    def on_save_label(self, image_id: str, label_id: str) -> None:
        """Called after each submission."""
        super().on_save_label(image_id, label_id)
        self._leases.release(image_id)
        self.retraining.wake()
        self.segs.wake()

    def info(self) -> dict[str, Any]:
        """What clients are told about this app, with the version of the model in use and what is wrong with it."""
        serving = self.models.serving()
        return {**super().info(), "model_version": serving.version, "model_problem": serving.problem}

    def infer(self, request: dict[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Segment an image of the datastore, or a file that was uploaded with the request.

        Raises:
            UserError: The image is neither; a path of the server's disk is never read.
        """
        image = request.get("image")
        uploaded = self._was_uploaded(image)
        if not uploaded:
            self.datastore().series(str(image))
        volume = contextlib.nullcontext() if uploaded else self.datastore().volume_in_use(str(image))
        with self._courtesy.somebody_waits(), volume:
            # Some are known only once the voxels have been read, as they were just now. After the run it would be
            # too late to ask: the series may have become unusable, which must not lose its mask.
            warnings = () if uploaded else self.datastore().series(str(image)).warnings
            result = super().infer(request, datastore)
        result["params"]["warnings"] = [*warnings, *result["params"].get("warnings", ())]
        if not uploaded:
            self._keep_prediction(request, result)
        return result

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
        self.check_trainable(request)
        return super().train(request)

    def check_trainable(self, request: Mapping[str, Any] | None = None) -> None:
        """Raise a UserError when there is nothing to train on, or with values that cannot be used."""
        check_request(self.settings.info, "train", request or {})
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

        def status() -> str | None:
            started = tasks("train")
            return started[-1]["status"] if started else None

        return Retraining(
            self.settings.info["config"]["train"]["retrain_after"],
            labels=labels,
            store=self.models,
            unfinished=self._unfinished,
            status=status,
            start=lambda params: self.async_training(LungTumor.NAME, params),
        )

    def _tell_of_versions_left_behind(self) -> None:
        """Earlier releases kept versions in the app's folder."""
        folder = self.settings.model_dir
        if left := missing_versions(self.models, folder):
            logger.warning(
                "%s has %d model version(s) of an earlier release, which are not used. Take them over: "
                "python main.py models --workspace %s --adopt %s",
                *(folder, len(left), self.settings.workspace, folder),
            )

    def _keep_prediction(self, request: dict[str, Any], result: dict[str, Any]) -> None:
        settings = {**self.settings.info["config"]["infer"], **request}
        if not result.get("file") or settings["attention"]:
            return
        names = self.settings.info["config"]["infer"].keys() - {"attention", "batch_size"}
        self.datastore().keep_prediction(
            request["image"],
            Path(result["file"]),
            model_version=result["params"]["model_version"],
            client_id=request.get("client_id"),
            settings={name: settings[name] for name in sorted(names)},
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
            return folder_router(client, self.uploads_dir)
        writable = self.settings.info["config"]["export"]["store_in_pacs"]
        hidden = Hidden(client, self.datastore().catalog)
        return pacs_router(
            self.settings.studies, self.uploads_dir, writable=writable, login=self.settings.login, hidden=hidden
        )


def _running(method: str) -> bool:
    """Whether a task of MONAI Label's runs in a process of its own, or is queued."""
    return any(task["status"] in ("SUBMITTED", "RUNNING") for task in tasks(method))


def _prepare_server_settings(settings: Settings) -> None:
    """Switch what a user of this app would else have to switch by environment variables."""
    server_settings.MONAI_LABEL_TRACKING_ENABLED = False  # MLflow refuses its file store: training would fail
    server_settings.MONAI_LABEL_AUTO_UPDATE_SCORING = False
    server_settings.MONAI_LABEL_INFER_CONCURRENCY = 1  # one network on one device at a time
    server_settings.MONAI_LABEL_INFER_TIMEOUT = 3600  # a large scan on a slow CPU is no error
    server_settings.MONAI_LABEL_SESSION_PATH = str(settings.cache_dir / "sessions")
    if is_server():  # its tasks' processes read the paths again, from another current folder
        paths = {"workspace": str(settings.workspace), "model_dir": str(settings.model_dir)}
        server_settings.MONAI_LABEL_APP_CONF = {**server_settings.MONAI_LABEL_APP_CONF, **paths}
        os.environ["MONAI_LABEL_APP_CONF"] = json.dumps(server_settings.MONAI_LABEL_APP_CONF)
    if settings.login:
        server_settings.MONAI_LABEL_STUDIES = settings.studies
        server_settings.MONAI_LABEL_DICOMWEB_USERNAME, server_settings.MONAI_LABEL_DICOMWEB_PASSWORD = settings.login
        for name in ("STUDIES", "DICOMWEB_USERNAME", "DICOMWEB_PASSWORD"):  # of the processes of its tasks
            os.environ[f"MONAI_LABEL_{name}"] = getattr(server_settings, f"MONAI_LABEL_{name}")
    (settings.cache_dir / "uploads").mkdir(parents=True, exist_ok=True)
