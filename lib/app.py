"""The MONAI Label app: model, strategies, routes and background threads over a datastore."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from monailabel.config import settings as server_settings
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask

from lib.activelearning import First, Last, Leases, NextSample, Random, Review, UncertaintySampling
from lib.activelearning.background import BackgroundScoring
from lib.activelearning.uncertainty_scoring import UncertaintyScoring
from lib.cluster.background import BackgroundCluster
from lib.configs.lung_tumor import LungTumor
from lib.configs.lung_tumor_click import LungTumorClick
from lib.datastore.opening import open_datastore
from lib.datastore.series_datastore import SeriesDatastore
from lib.dicomweb.login import mask_login
from lib.errors import UserError
from lib.exports.label_exports import LabelExports
from lib.exports.seg_storage import SegStorage
from lib.followup.registering import Registering
from lib.followup.registration_store import RegistrationStore
from lib.infers.lung_tumor import ATTENTION, PROBABILITY
from lib.initial_labels.initial_labels import InitialLabels
from lib.publishing.stores import model_stores
from lib.reading.preference_answers import damaged_answers
from lib.reading.reading_list import StudyPlan
from lib.reading.study_file import read_study
from lib.server.access.rules import rules_at_start
from lib.server.background import run_workers
from lib.server.damage_cache import DamageCache
from lib.server.dicomweb_routes import dicomweb_router
from lib.server.finished_inferences import FinishedInferences, InferenceKey
from lib.server.inference_ahead import InferenceAhead
from lib.server.inference_progress import InferenceProgress
from lib.server.install import install
from lib.server.log_file import move_log
from lib.server.open_cases import OpenCases, others_at_work
from lib.server.request_queues import RequestQueues
from lib.server.requests import is_file_below
from lib.server.saved_masks import saved
from lib.server.seen_labels import SeenLabels
from lib.server.served_study import ServedStudy, labelling_study, preference_study
from lib.server.sessions import TolerantSessions
from lib.server.start import exit_with_problems, prepare_server, print_welcome
from lib.server.task_state import last_status
from lib.server.upstream_patches import apply_settings, register_app, tolerant_sessions
from lib.settings import Settings
from lib.settings.daily_hours import NEVER
from lib.storage.integrity import Damage
from lib.trainers.retraining import Retraining
from lib.trainers.trainable import check_trainable
from lib.trainers.unfinished_run import UnfinishedRun
from lib.workspace import exit_on_startup_error, is_server, open_workspace

_UNCERTAINTY = "uncertainty"


class MyApp(MONAILabelApp):
    """The app that MONAI Label's server and its training process load.

    Args:
        app_dir: Folder of this repository.
        studies: DICOM folder or DICOMweb URL.
        conf: The pairs of ``--conf NAME VALUE``.
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        mask_login(studies, Path(app_dir) / "logs")  # first, so that it also happens if the start is refused
        try:
            self.settings = Settings.from_conf(studies, conf)
            study_file = self.settings.study_file
            self._study = StudyPlan(read_study(study_file)) if study_file else None
            self._access = rules_at_start(self.settings)
        except UserError as error:
            exit_with_problems(error)
        if self.settings.login:
            register_app(app_dir, self.settings.studies, self)
        with exit_on_startup_error():
            self._workspace_lock = open_workspace(self.settings)
            if is_server():
                os.umask(0o077)  # for files written by MONAI Label, SQLite and the training process
                move_log(self.settings.workspace)
            apply_settings(self.settings, in_server=is_server())
            self.uploads_dir.mkdir(parents=True, exist_ok=True)
        self._in_study: ServedStudy | None = None  # in a server with a reader study
        stores = model_stores(self.settings)
        self.models = stores[LungTumor.NAME]
        choice = self.settings.info["config"]["activelearning"]
        login = self._access.login if self._access else None
        has_ended = login.authentication.has_ended if login else lambda session: False
        self._leases = Leases(60 * choice["lease_minutes"], has_ended=has_ended)
        self._open_cases = OpenCases(has_ended)
        self.seen_labels = SeenLabels()
        self.queues = RequestQueues()
        self.progress = InferenceProgress(lambda done, total: self.queues.wait_for_clicks())
        self._damage = DamageCache(
            lambda: [
                *self.datastore().damage(),
                *(one for store in stores.values() for one in store.damage()),
                *damaged_answers(self.settings.workspace),
            ]
        )
        self._unfinished = UnfinishedRun(self.settings.workspace / "training.json")
        self._cluster = BackgroundCluster(self.settings.scheduler) if self.settings.scheduler else None
        self.task_config = LungTumor(self.progress.before_pass, self._cluster)
        self.click_config = LungTumorClick(self.task_config, self._cluster)
        self.configs: dict[str, LungTumor | LungTumorClick] = {
            LungTumor.NAME: self.task_config,
            LungTumorClick.NAME: self.click_config,
        }
        for name, config in self.configs.items():
            config.init(
                name,
                str(self.settings.models_dir),
                conf,
                planner=None,
                app=self.settings,
                store=stores[name],
                unfinished=self._unfinished,
            )
        self._scoring = UncertaintyScoring(
            _UNCERTAINTY,
            self.task_config.predictor,
            self.models,
            self.settings.cache_dir / "scores",
            max_images=choice["scored_images"],
            before_each_batch=self.queues.background.wait,
            cluster=self._cluster,
        )
        self._review = Review(self._scoring.disagreements)
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
        self.finished = FinishedInferences(
            self.datastore(), self.task_config.predictor.weights, info["config"]["infer"], self.settings.results_dir
        )

    def _load_sessions(self, load: bool = False) -> TolerantSessions | None:
        return tolerant_sessions(super()._load_sessions(load))

    def init_datastore(self) -> Datastore:
        """Return the series of the folder or PACS."""
        return open_datastore(self.settings, server_settings.MONAI_LABEL_DICOMWEB_SEARCH_FILTER)

    def datastore(self) -> SeriesDatastore:
        """Return the images and labels."""
        return cast(SeriesDatastore, super().datastore())

    def init_infers(self) -> dict[str, InferTask]:
        """Return the infer task of each model."""
        return {name: config.infer() for name, config in self.configs.items()}

    def init_trainers(self) -> dict[str, TrainTask]:
        """Return the train task of each model that can be trained, in the order of automatic training."""
        trainers = {name: config.trainer() for name, config in self.configs.items()}
        return {name: trainer for name, trainer in trainers.items() if trainer is not None}

    def init_strategies(self) -> dict[str, Strategy]:
        """Return the strategies that choose the next image."""
        uncertain = UncertaintySampling(
            "The scan without a label of which the model is least certain", self._scoring.uncertainties
        )
        return {"random": Random(), "first": First(), "last": Last(), _UNCERTAINTY: uncertain}

    def init_scoring_methods(self) -> dict[str, ScoringMethod]:
        """Return the scoring method; the server scores in the background, ``POST /scoring`` scores all at once."""
        return {_UNCERTAINTY: self._scoring}

    def next_sample(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the next image for a user; see `NextSample`.

        Once all are labelled, a labelled one is offered for review, with ``review`` true; see `Review`.

        Raises:
            UserError: There is no such strategy.
        """
        chosen = NextSample(self._strategies, self._review, self._leases).choose(request, self.datastore())
        return {**chosen, "path": self.datastore().get_image_uri(chosen["id"])} if chosen else {}

    def in_work(self) -> set[str]:
        """Return the images that were offered to somebody and are not labelled yet."""
        return self._leases.images()

    def others_at_work(self, image_id: str, user: str, session: str) -> list[dict[str, str]]:
        """Note that a user has an image open, and return who else works on it, each with the sign of it.

        Args:
            image_id: The image.
            user: Name of the user.
            session: Log-in session of the user.
        """
        self._open_cases.see(image_id, user, session)
        drafted = {owner.partition("\n")[0] for owner in self.datastore().drafts.owners(image_id)}
        return others_at_work(self._open_cases.users_of(image_id), drafted, self._leases.user_of(image_id), user)

    def uncertainties(self) -> dict[str, float]:
        """Return the uncertainty of each scored image in [0, 1], used by the strategy ``uncertainty``."""
        return self._scoring.uncertainties()

    def damage(self) -> list[Damage]:
        """Return the damage to all stored files except labels that newer ones have replaced."""
        return self._damage.damage()

    def on_init_complete(self) -> None:
        """Install this app's routes and start the background threads; called in the server only."""
        super().on_init_complete()
        from monailabel.app import app as server  # not in the training process, which has no server

        with exit_on_startup_error():
            prepare_server(self.settings, [config.store for config in self.configs.values()])
        datastore = self.datastore()
        self.retraining = self._retraining()
        registrations = RegistrationStore(datastore, self.settings.registrations_dir)
        self.exports = LabelExports(datastore, self.settings.info, registrations)
        self.registering = Registering(registrations)
        self.initial_labels = InitialLabels(datastore, self.settings.info["imports"])
        self.segs = SegStorage(datastore, self.exports, self.settings.info["config"]["export"]["store_in_pacs"])
        assert self._access is not None, "a server has access rules"
        self._in_study = self._served_study(self._study) if self._study else None
        views = self._in_study.views if self._in_study else None
        install(server, self, dicomweb_router(datastore, self.settings, self.uploads_dir), self._access, views)
        self._start_workers()
        print_welcome(self.settings, datastore.status(), self._access.listening.url, self.network_warning)

    def _served_study(self, plan: StudyPlan) -> ServedStudy:
        if plan.study.kind != "preference":
            return labelling_study(
                plan, self.datastore(), self.settings, after=lambda image: self.on_save_label(image, image)
            )
        with exit_on_startup_error():
            return preference_study(
                plan,
                self.datastore(),
                self.settings,
                self.models,
                self.task_config.predictor.model,
                before_each=self.queues.background.wait,
            )

    def _start_workers(self) -> None:
        datastore = self.datastore()
        scoring = BackgroundScoring(self._scoring, datastore, self.queues.background)
        watcher = datastore.watch(self.initial_labels.wake)
        study = [self._in_study.worker] if self._in_study else []
        ahead = [self._inference_ahead()] if self.settings.info["config"]["ahead"]["infer_ahead"] != NEVER else []
        workers = (self.initial_labels, self.retraining, self.segs, scoring, self.registering, self._damage)
        run_workers(watcher, (*workers, *ahead, *self.queues.workers, *study))
        self._damage.renew()  # hashes all stored files once; later calls hash only changed ones

    def _inference_ahead(self) -> InferenceAhead:
        predictor = self.task_config.predictor
        return InferenceAhead(
            self.finished, self.datastore(), predictor, self.settings, self.queues.background, self._cluster
        )

    @property
    def network_warning(self) -> str | None:
        """Warning if passwords travel to this server without encryption; None if they do not."""
        return self._access.network_warning if self._access else None

    def on_save_label(self, image_id: str, label_id: str) -> None:
        """Release the lease of the image and wake the threads that use labels; called after each submission."""
        super().on_save_label(image_id, label_id)
        self._leases.release(image_id)
        self.datastore().skipped.take_back(image_id)
        self.retraining.wake()
        self.segs.wake()
        if self._in_study:
            self._in_study.worker.wake()

    def on_review(self, image_id: str) -> None:
        """Release the lease of an image and wake the automatic training; called after each review of its label."""
        self._leases.release(image_id)
        self.retraining.wake()

    def info(self) -> dict[str, Any]:
        """Return the description of this app for clients, with the model version in use and its problem, if any."""
        serving = self.models.serving()
        return {**super().info(), "model_version": serving.version, "model_problem": serving.problem}

    def infer(self, request: dict[str, Any], datastore: Datastore | None = None) -> dict[str, Any]:
        """Segment an image of the datastore, or a file uploaded with the request.

        Raises:
            UserError: The image is neither; other paths on the server's disk are never read.
        """
        image = request.get("image")
        uploaded = self._was_uploaded(image)
        if not uploaded:
            self.datastore().series(str(image))
        if request.get("preview"):
            self.queues.wait_for_clicks()
        if uploaded:
            with self.queues.background.user_waiting():
                return super().infer({**request, "save_label": False}, datastore)
        with self.queues.background.user_waiting(), self.datastore().volume_in_use(str(image)) as volume:
            # Some warnings are known only now that the voxels have been read. They are collected before the run,
            # because the series may become unusable meanwhile, which must not lose its mask.
            warnings = self.datastore().series(str(image)).warnings
            whole_scan = request.get("model") == LungTumor.NAME
            key = self.finished.key(request, volume) if whole_scan else None
            with self.progress.running(str(image) if whole_scan else None):
                result = super().infer({**request, "image": str(volume), "save_label": False}, datastore)
            if whole_scan:
                self.finished.keep(key, request, result, volume)
        return self._answered(request, result, warnings)

    def infer_again(self, key: InferenceKey, request: dict[str, Any]) -> dict[str, Any] | None:
        """Return what `infer` returns, from a finished inference; None without one.

        The warnings about the series are those of now.

        Args:
            key: What `FinishedInferences.key` returns for the request.
            request: The request.

        Raises:
            UserError: The request is invalid, or the image cannot be used now.
        """
        warnings = self.datastore().series(key.image).warnings
        result = self.finished.result(key, request)
        return result and self._answered(request, result, warnings)

    def _answered(self, request: dict[str, Any], result: dict[str, Any], of_series: Sequence[str]) -> dict[str, Any]:
        """Return a result with the warnings about the series as well, after saving its mask if that is asked for."""
        params = {**result["params"], "warnings": [*of_series, *result["params"].get("warnings", ())]}
        return saved(self.datastore(), request, {**result, "params": params})

    def prepare_clicks(self, image: str) -> None:
        """Make the volume of an image and load the model for clicks, so that the first click is as fast as the next.

        Raises:
            UserError: There is no such image, or there are no weights.
        """
        self.datastore().series(image)
        with self.datastore().volume_in_use(image):
            self.click_config.infer().prepare(Path(self.datastore().get_image_uri(image)))

    def mask_and_maps(self, image: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return mask, probability and attention (eq. 6) of an image, (column, row, slice), from one inference."""
        request = {"model": LungTumor.NAME, "image": image, "attention": True, "skip_writer": True}
        data = self.infer(request)["params"]
        return np.asarray(data["pred"]), np.asarray(data[PROBABILITY]), np.asarray(data[ATTENTION])

    def train(self, request: dict[str, Any]) -> dict[str, Any]:
        """Train on the labelled images.

        Raises:
            UserError: No image is labelled, or a value of the request is invalid.
        """
        self.check_trainable(request)
        return super().train(request)

    def check_trainable(self, request: Mapping[str, Any] | None = None) -> None:
        """Raise a UserError if no image is labelled or a value of the request is invalid."""
        check_trainable(request or {}, self.datastore(), self.settings.info, self._study)

    def _retraining(self) -> Retraining:
        store = self.datastore().labels

        def labels() -> dict[str, str]:
            return {uid: store.latest(uid, "final").sha256 for uid in self.datastore().trained_on()}

        return Retraining(
            self.settings.info["config"]["train"]["retrain_after"],
            labels=labels,
            stores={name: self.configs[name].store for name in self._trainers},
            unfinished=self._unfinished,
            status=lambda: last_status("train"),
            start=self.async_training,
        )

    @property
    def uploads_dir(self) -> Path:
        """Folder for files uploaded with requests."""
        return self.settings.cache_dir / "uploads"

    def _was_uploaded(self, image: object) -> bool:
        folders = (self.uploads_dir, Path(server_settings.MONAI_LABEL_SESSION_PATH))
        return isinstance(image, str) and is_file_below(Path(image), folders)
