"""Mask of a whole scan, computed in a worker of a cluster."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lib.cluster.worker_model import WorkerModel
from lib.inference import Predictor
from lib.infers.lung_tumor import LungTumorInferTask


def mask_on_worker(
    model: WorkerModel[Predictor], info: Mapping[str, Any], request: Mapping[str, Any]
) -> tuple[bytes, dict[str, Any]]:
    """Return the file of a mask and the parameters of the answer; called in a worker, which sees the volume.

    Args:
        model: The model.
        info: ``info.yaml`` of the server.
        request: For `LungTumorInferTask`, which does the same in the server.
    """
    with tempfile.TemporaryDirectory() as folder:
        file, params = LungTumorInferTask(model.predictor(), dict(info), Path(folder))(dict(request))
        return Path(str(file)).read_bytes(), params
