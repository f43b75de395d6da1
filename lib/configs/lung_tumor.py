"""The model ``lung_tumor``: labels, network, weights, infer task and train task."""

from __future__ import annotations

from typing import Any

from monailabel.interfaces.config import TaskConfig
from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.train import TrainTask

from lib.cluster.background import BackgroundCluster
from lib.inference import ModelDescription, Predictor
from lib.inference.slice_inference import BeforePass, no_wait
from lib.infers import LungTumorInferTask
from lib.publishing import ModelStore
from lib.publishing.folds import Folds
from lib.publishing.serving_weights import ServingWeights
from lib.publishing.shipped_patients import ShippedPatients
from lib.publishing.stores import SEGMENTATION
from lib.publishing.version_files import PRETRAINED
from lib.settings import Settings
from lib.trainers import LungTumorTrainTask
from lib.trainers.unfinished_run import UnfinishedRun


class LungTumor(TaskConfig):
    """Attention-gated residual U-Net for lung tumours, slice by slice."""

    NAME = SEGMENTATION

    def __init__(self, before_pass: BeforePass = no_wait, cluster: BackgroundCluster | None = None) -> None:
        """Set what has to do with the server.

        Args:
            before_pass: Called before each forward pass of an inference that a user asked for.
            cluster: Where the gate measures while it is there.
        """
        super().__init__()
        self._before_pass = before_pass
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
        model = ModelDescription.from_info(app.info, app.model_dir)
        self.network = model.network()  # uploaded weights are checked against it
        self.predictor = Predictor(model, ServingWeights(store))
        self._info: dict[str, Any] = app.info
        self.store = store
        self._unfinished = unfinished
        self._workspace = app.workspace
        self._study_file = app.study_file
        self._results = app.results_dir

    def infer(self) -> InferTask:
        """Return the infer task."""
        return LungTumorInferTask(self.predictor, self._info, self._results, self._before_pass)

    def trainer(self) -> TrainTask:
        """Return the train task."""
        shipped = ShippedPatients(self.store.weights(PRETRAINED))
        folds = Folds(self._workspace / "folds.json", shipped)
        return LungTumorTrainTask(
            self.model_dir,
            self.predictor.model,
            self._info,
            self.store,
            folds,
            self._unfinished,
            self._study_file,
            self._cluster,
        )
