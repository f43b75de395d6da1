"""``GET /status``: the status page; ``GET /status/data``: its data as JSON."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse
from monailabel.interfaces.datastore import DefaultLabelTag

from lib.datastore.catalog import Series
from lib.datastore.label_info import author_of
from lib.datastore.label_record import INITIAL, LabelRecord
from lib.datastore.label_review import ReviewState
from lib.publishing import ModelStore
from lib.publishing.first_scores import FirstScore, first_scores
from lib.publishing.model_store import PRETRAINED
from lib.publishing.shipped_patients import ShippedPatients
from lib.publishing.stores import SEGMENTATION
from lib.reading.preference_results import known_results
from lib.server.access.headers import page_policy
from lib.server.app_protocol import LungLabelApp
from lib.server.recent_errors import RecentErrors
from lib.server.task_state import last_task

_PAGE = Path(__file__).parent / "status.html"


def status_router(app: LungLabelApp) -> APIRouter:
    """Return the status routes of ``app``."""
    router = APIRouter(prefix="/status", tags=["App"])
    errors = RecentErrors()
    for name in ("lib", "monailabel", "uvicorn.error"):
        logging.getLogger(name).addHandler(errors)

    html = _PAGE.read_text(encoding="utf-8")
    policy = {"Content-Security-Policy": page_policy(html)}

    @router.get("", include_in_schema=False)
    def page() -> HTMLResponse:
        return HTMLResponse(html, headers=policy)

    @router.get("/data", summary="Data of the status page")
    def data() -> dict[str, Any]:
        datastore = app.datastore()
        labels = datastore.labels
        series = sorted(datastore.catalog.all(), key=lambda one: (one.value("PatientID"), one.uid))
        uncertainties = app.uncertainties()
        skipped = datastore.skipped.all()
        cases = [
            _case(one, labels.current(one.uid), datastore.review_of(one.uid)) for one in series if one.problem is None
        ]
        return {
            "name": app.name,
            "version": app.version,
            "studies": app.settings.studies,
            "network": app.network_warning,
            "datastore": datastore.status(),
            "cases": [
                {
                    **case,
                    "uncertainty": uncertainties.get(case["series"]),
                    "skipped": skipped.get(case["series"]),
                }
                for case in cases
            ],
            "left_out": [_case(one, {}) for one in series if one.left_out],
            "segs_not_stored": [asdict(failure) for failure in app.segs.failures()],
            "serving": app.models.serving_version(),
            "serving_problem": app.models.serving().problem,
            "versions": app.models.manifests()[::-1],
            "first_scores": [asdict(one) for one in _first_scores(app, series)],
            "preferences": known_results(app.settings.workspace),
            "shipped": PRETRAINED if app.models.weights(PRETRAINED).exists() else None,
            "other_models": {name: _versions(one.store) for name, one in app.configs.items() if name != SEGMENTATION},
            "training": {"task": _task(), "stats": app.info()["train_stats"]},
            "damaged": [{"kind": one.kind, "file": str(one.path), "problem": one.problem} for one in app.damage()],
            "inferences": {"running": app.queues.inferences.running, "waiting": app.queues.inferences.waiting},
            "settings": app.settings.changed,
            "errors": errors.list(),
        }

    return router


def _case(series: Series, labels: Mapping[str, LabelRecord], review: ReviewState | None = None) -> dict[str, Any]:
    label, imported = labels.get(DefaultLabelTag.FINAL.value), labels.get(INITIAL)
    return {
        "patient": series.value("PatientID"),
        "date": series.value("StudyDate"),
        "description": series.value("SeriesDescription") or series.value("StudyDescription"),
        "modality": series.value("Modality"),
        "slices": series.instance_count,
        "study": series.study_uid,
        "series": series.uid,
        "problem": series.problem,
        "warnings": (*series.warnings, *series.notes),
        "in_ohif": series.is_dicom,
        "label": label and {"number": label.number, "by": author_of(label.info), "time": label.time},
        "review": review and review.to_json(),
        "imported": imported and imported.number,
    }


def _versions(store: ModelStore) -> dict[str, Any]:
    return {"serving": store.serving_version(), "versions": store.manifests()[::-1]}


def _first_scores(app: LungLabelApp, series: Sequence[Series]) -> list[FirstScore]:
    patients = {one.uid: one.value("PatientID") or one.uid for one in series}
    shipped = ShippedPatients(app.models.weights(PRETRAINED))
    trained_on = set() if shipped.damage() else shipped.read()
    return first_scores(app.datastore().labels, patients, app.models.manifests(), trained_on)


def _task() -> dict[str, Any] | None:
    task = last_task("train")
    return {"status": task["status"], "since": task["start_ts"]} if task else None
