"""The prediction that a label started from, the changes made to it, and the findings that are left of it."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any

import numpy as np

from lib.datastore.kept_findings import kept_findings
from lib.datastore.predictions import Changes, Prediction, PredictionStore

logger = logging.getLogger(__name__)


def origin_of_label(
    predictions: PredictionStore, image_id: str, grid: str, voxels: np.ndarray, info: dict[str, Any]
) -> dict[str, Any]:
    """Return model version, settings, changes and findings of the prediction that a label started from.

    MONAI Label itself saves a mask that a request with ``save_label`` has just made, with the parameters of the answer.
    OHIF's panel sends the version, or null if the label was drawn without a prediction. MONAI Label's Slicer module
    does not; then the last prediction requested by this client is used.

    Args:
        predictions: Cache of the predictions.
        image_id: SeriesInstanceUID.
        grid: Fingerprint of the current slices of the image.
        voxels: The label (slice, row, column).
        info: Info sent by the client with the label.

    Returns:
        ``model_version``, ``changes`` (None without a known prediction) and, with one, its ``settings`` and its
        ``findings`` that are still in the label.
    """
    made = info.get("params")
    if isinstance(made, dict):  # never from a client, whose parameters are under other names
        changes = asdict(Changes.between(voxels, voxels))
        return {"model_version": made["model_version"], "changes": changes, "findings": made["findings"]}
    named = info.get("model_version")
    version = named if isinstance(named, str) else None
    found = None
    if version or "model_version" not in info:
        found = _find(predictions, image_id, grid, version, info.get("client_id"))
    if found is None:
        return {"model_version": version, "changes": None}
    prediction, mask = found
    return {
        "model_version": prediction.model_version,
        "settings": prediction.settings,
        "changes": asdict(Changes.between(mask, voxels)),
        "findings": kept_findings(prediction.findings, mask, voxels),
    }


def _find(
    predictions: PredictionStore, image_id: str, grid: str, version: str | None, client: Any
) -> tuple[Prediction, np.ndarray] | None:
    try:
        return predictions.find(image_id, grid, model_version=version, client_id=client)
    except (OSError, RuntimeError, ValueError, TypeError) as error:  # a damaged cache must not prevent saving a label
        reason = str(error).splitlines()[0]
        logger.warning("The prediction that the label of %s started from cannot be read: %s", image_id, reason)
        return None
