"""Interface of the app that the routes depend on, so that tests can replace it with a fake."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from monailabel.utils.sessions import Sessions

from lib.datastore.series_datastore import SeriesDatastore
from lib.exports.label_exports import LabelExports
from lib.exports.seg_storage import SegStorage
from lib.followup.registering import Registering
from lib.initial_labels.initial_labels import InitialLabels
from lib.publishing import ModelStore
from lib.server.finished_inferences import FinishedInferences, InferenceKey
from lib.server.inference_progress import InferenceProgress
from lib.server.request_queues import RequestQueues
from lib.server.seen_labels import SeenLabels
from lib.settings import Settings
from lib.storage.integrity import Damage

AUTHOR = "author"  # name, in a request for an inference, of who is logged in


class ModelConfig(Protocol):
    """Configuration of a model: its network, and the store of its versions."""

    network: Any
    store: ModelStore


class LungLabelApp(Protocol):
    """The app behind the routes: MONAI Label's interface with the additions of this app."""

    name: str
    version: str

    @property
    def settings(self) -> Settings:
        """Settings of this run of the server."""

    @property
    def models(self) -> ModelStore:
        """Versions of the automatic model."""

    @property
    def configs(self) -> Mapping[str, ModelConfig]:
        """Configuration of each model by its name."""

    @property
    def queues(self) -> RequestQueues:
        """Queues of requests that compute."""

    @property
    def finished(self) -> FinishedInferences:
        """Finished inferences on whole scans."""

    @property
    def progress(self) -> InferenceProgress:
        """How far the running inferences on whole scans are."""

    @property
    def seen_labels(self) -> SeenLabels:
        """Which label each user began from."""

    @property
    def exports(self) -> LabelExports:
        """Labels in other formats."""

    @property
    def registering(self) -> Registering:
        """Worker that registers pairs of series."""

    @property
    def segs(self) -> SegStorage:
        """Storage of DICOM SEGs."""

    @property
    def initial_labels(self) -> InitialLabels:
        """Labels made from the objects of other programs."""

    @property
    def uploads_dir(self) -> Path:
        """Folder for files uploaded with requests."""

    @property
    def network_warning(self) -> str | None:
        """Warning if this server is reachable from other machines; None if it is not."""

    def datastore(self) -> SeriesDatastore:
        """Return the datastore."""

    def sessions(self) -> Sessions | None:
        """Return MONAI Label's sessions; None if they are disabled."""

    def info(self) -> dict[str, Any]:
        """Return the description of this app for clients."""

    def infer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Segment an image."""

    def infer_again(self, key: InferenceKey, request: dict[str, Any]) -> dict[str, Any] | None:
        """Return the result of a finished inference; None without one."""

    def prepare_clicks(self, image: str) -> None:
        """Prepare an image for clicks."""

    def mask_and_maps(self, image: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return mask, probability and attention of an image."""

    def check_trainable(self, request: Mapping[str, Any] | None = None) -> None:
        """Raise a UserError if a training cannot start."""

    def on_save_label(self, image_id: str, label_id: str) -> None:
        """Handle a new label."""

    def on_review(self, image_id: str) -> None:
        """Handle a review of a label."""

    def in_work(self) -> set[str]:
        """Return the images that were offered to somebody and are not labelled yet."""

    def others_at_work(self, image_id: str, user: str, session: str) -> list[dict[str, str]]:
        """Note that a user has an image open, and return who else works on it."""

    def uncertainties(self) -> dict[str, float]:
        """Return the uncertainty of each scored image."""

    def damage(self) -> list[Damage]:
        """Return the damage to all stored files."""
