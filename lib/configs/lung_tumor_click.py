"""The model ``lung_tumor_click``: labels, network, weights and infer task."""

from __future__ import annotations

from monailabel.interfaces.config import TaskConfig
from monailabel.interfaces.tasks.train import TrainTask

from lib.clicks.model import ClickModel
from lib.clicks.predictor import ClickPredictor
from lib.infers import LungTumorClickInferTask
from lib.publishing import ModelStore
from lib.publishing.serving_weights import ServingWeights
from lib.settings import Settings

WEIGHTS_FILE = "pretrained_lung_tumor_click.pt"


class LungTumorClick(TaskConfig):
    """Attention-gated residual U-Net in three dimensions that outlines the lesion a user points at."""

    NAME = "lung_tumor_click"

    def init(self, name: str, model_dir: str, conf: dict[str, str], planner: object, *, app: Settings) -> None:
        """Set up the model from the app's settings.

        Args:
            name: Name of the model.
            model_dir: ``models/`` of the workspace.
            conf: The pairs of ``--conf``.
            planner: Unused; the size of the network does not depend on the data.
            app: Parsed settings.
        """
        super().init(name, model_dir, conf, planner)
        self.labels = app.info["labels"]
        self.store = ModelStore(app.models_dir / name, app.model_dir / WEIGHTS_FILE)
        self.predictor = ClickPredictor(ClickModel.from_info(app.info), ServingWeights(self.store))
        self._task = LungTumorClickInferTask(self.predictor, app.info, app.results_dir)

    def infer(self) -> LungTumorClickInferTask:
        """Return the infer task, always the same one."""
        return self._task

    def trainer(self) -> TrainTask | None:
        """Return None: this model is trained offline only, with ``python main.py train-clicks``."""
        return None
