"""Record of finished trainings in the user's own MLflow, where ``MLFLOW_TRACKING_URI`` is set.

``mlflow-skinny`` is an optional dependency (``pip install lunglabel[mlflow]``). No PatientID is sent, and no verdict's
reason, which may name patients.
"""

from __future__ import annotations

import importlib
import logging
import math
import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from lib.errors import in_one_line
from lib.trainers.unfinished_run import RUN_NAME

logger = logging.getLogger(__name__)

_URI = "MLFLOW_TRACKING_URI"
_EXPERIMENT = "LungLabel"
_MODELS = {"candidate": "new", "published": "in_use"}  # scores in a verdict, and the prefix of their metrics
_SCORES = ("dice", "false_positives", "found", "lesions")
# MLflow would otherwise try for minutes to reach a server that is away.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


def track(manifest: Mapping[str, Any], model: str, ended: float) -> None:
    """Log the settings, scores and verdict of a training, if the user tracks trainings; a failure is only a warning.

    Args:
        manifest: Manifest of the version that was kept, with its id.
        model: Name of the model.
        ended: End of the training, seconds since 1970.
    """
    uri = os.environ.get(_URI)
    if not uri:
        return
    try:
        _log(uri, manifest, model, ended)
    except Exception as error:  # the training is over and kept, whatever is wrong with its record
        logger.warning("The training is not recorded in MLflow (%s): %s", _URI, in_one_line(error))


def _log(uri: str, manifest: Mapping[str, Any], model: str, ended: float) -> None:
    started = datetime.strptime(manifest["run"], RUN_NAME).timestamp()
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    client = importlib.import_module("mlflow").MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(_EXPERIMENT)
    number = experiment.experiment_id if experiment else client.create_experiment(_EXPERIMENT)
    tags = {"model": model, "version": manifest["version"], "parent": str(manifest.get("parent"))}
    tags |= {"outcome": manifest["verdict"]["outcome"], "learned": str(manifest.get("learned", "network"))}
    run = client.create_run(number, start_time=_ms(started), run_name=manifest["run"], tags=tags).info.run_id
    for name, setting in manifest["settings"].items():
        client.log_param(run, name, setting)
    for name, score in _metrics(manifest):
        client.log_metric(run, name, score, timestamp=_ms(ended))
    client.set_terminated(run, "FINISHED", end_time=_ms(ended))


def _metrics(manifest: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the metrics of a version that are known and finite."""
    verdict = manifest["verdict"]
    yield "labels", float(len(manifest["labels"]))
    yield "patients", float(len((verdict.get("candidate") or {}).get("patients", {})))
    for model, prefix in _MODELS.items():
        scores = verdict.get(model) or {}
        yield from ((f"{prefix}_{name}", scores[name]) for name in _SCORES if _is_finite(scores.get(name)))
    if _is_finite(verdict.get("p")):
        yield "p", verdict["p"]


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _ms(seconds: float) -> int:
    return round(1000 * seconds)
