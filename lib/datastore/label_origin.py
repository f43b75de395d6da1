"""From which prediction of the model a label began, and what a person changed of it."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any

import numpy as np

from lib.datastore.predictions import Changes, Prediction, PredictionStore

logger = logging.getLogger(__name__)


def origin_of_label(
    predictions: PredictionStore, image_id: str, grid: str, voxels: np.ndarray, info: dict[str, Any]
) -> dict[str, Any]:
    """Return what is known of the prediction that a label began from: model version, settings, changes.

    OHIF's panel names the version, null where the label was drawn from nothing. MONAI Label's Slicer module does not:
    the last prediction that this client asked for counts.

    Args:
        predictions: Masks that were shown.
        image_id: SeriesInstanceUID.
        grid: Fingerprint of the slices that the image has now.
        voxels: The label (slice, row, column).
        info: What the client sent with the label.

    Returns:
        ``model_version``, ``changes`` (None where no prediction is known) and, where one is, its ``settings``.
    """
    named = info.get("model_version")
    version = named if isinstance(named, str) else None
    found = None
    if version or "model_version" not in info:
        found = _find(predictions, image_id, grid, version, info.get("client_id"))
    if found is None:
        return {"model_version": version, "changes": None}
    prediction, mask = found
    changes = asdict(Changes.between(mask, voxels))
    return {"model_version": prediction.model_version, "settings": prediction.settings, "changes": changes}


def _find(
    predictions: PredictionStore, image_id: str, grid: str, version: str | None, client: Any
) -> tuple[Prediction, np.ndarray] | None:
    try:
        return predictions.find(image_id, grid, model_version=version, client_id=client)
    except (OSError, RuntimeError, ValueError, TypeError) as error:  # a damaged cache must not cost a label
        reason = str(error).splitlines()[0]
        logger.warning("The prediction that the label of %s began from cannot be read: %s", image_id, reason)
        return None
