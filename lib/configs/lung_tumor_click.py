"""The model ``lung_tumor_click``: labels, network, weights, infer task and train task."""

from __future__ import annotations

from monailabel.interfaces.config import TaskConfig
from monailabel.interfaces.tasks.train import TrainTask

from lib.clicks.automatic import AutomaticModel
from lib.clicks.model import ClickModel
from lib.clicks.predictor import ClickPredictor
from lib.cluster.background import BackgroundCluster
from lib.configs.lung_tumor import LungTumor
from lib.infers import LungTumorClickInferTask
from lib.publishing import ModelStore
from lib.publishing.folds import Folds
from lib.publishing.serving_weights import ServingWeights
from lib.publishing.shipped_patients import ShippedPatients
from lib.publishing.stores import CLICKS
from lib.publishing.version_files import PRETRAINED
from lib.settings import Settings
from lib.trainers import LungTumorClickTrainTask
from lib.trainers.unfinished_run import UnfinishedRun


class LungTumorClick(TaskConfig):
    """Attention-gated residual U-Net in three dimensions that outlines the lesion a user points at."""

    NAME = CLICKS

    def __init__(self, automatic: LungTumor, cluster: BackgroundCluster | None = None) -> None:
        """Set what has to do with the server.

        Args:
            automatic: The model for whole scans, which has to be set up first.
            cluster: Where the gate measures while it is there.
        """
        super().__init__()
        self._automatic = automatic
        self._cluster = cluster

    def init(
        self,
        name: str,
        model_dir: str,
        conf: dict[str, str],
        planner: object,
        *,
        app: Settings,
        store: ModelStore,
        unfinished: UnfinishedRun,
    ) -> None:
        """Set up the model from the app's settings.

        Args:
            name: Name of the model.
            model_dir: ``models/`` of the workspace.
            conf: The pairs of ``--conf``.
            planner: Unused; the size of the network does not depend on the data.
            app: Parsed settings.
            store: Store of the model versions.
            unfinished: Record of the running training.
        """
        super().init(name, model_dir, conf, planner)
        self.labels = app.info["labels"]
        self.store = store
        automatic = AutomaticModel(self._automatic.predictor)
        self.predictor = ClickPredictor(ClickModel.from_info(app.info), ServingWeights(store), automatic)
        self.network = self.predictor.model.network()  # uploaded weights are checked against it
        self._unfinished = unfinished
        self._app = app
        self._task = LungTumorClickInferTask(self.predictor, app.info, app.results_dir)

    def infer(self) -> LungTumorClickInferTask:
        """Return the infer task, always the same one."""
        return self._task

    def trainer(self) -> TrainTask | None:
        """Return the train task; None without weights to begin with, which only offline training makes."""
        if self.store.serving_version() is None:
            return None
        shipped = ShippedPatients(self.store.weights(PRETRAINED))
        folds = Folds(self.store.folder / "folds.json", shipped)
        return LungTumorClickTrainTask(
            self.predictor.model,
            self._app.info,
            self.store,
            folds,
            self._unfinished,
            self._app.study_file,
            self._cluster,
        )
