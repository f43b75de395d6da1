"""``/viewer`` routes: requests of the panel in OHIF beyond MONAI Label's own routes."""

from __future__ import annotations

import gzip
import time
from http import HTTPStatus
from pathlib import Path
from typing import Any

import SimpleITK as sitk
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from monailabel.config import settings
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.datastore import DefaultLabelTag
from monailabel.utils.async_tasks.utils import tasks

from lib.datastore.label_record import LabelRecord, read_voxels
from lib.datastore.lesion_history import highest_number
from lib.errors import UserError
from lib.exports.lesion_table import find_midline
from lib.geometry.voxel_grid import VoxelGrid
from lib.initial_labels.candidates import INITIAL, candidates, to_json
from lib.publishing import ModelStore
from lib.publishing.manifest import outcome
from lib.publishing.stores import SEGMENTATION
from lib.server.app_protocol import LungLabelApp

_ANNOTATOR = RBAC(settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR)
_LONGEST_NAME = 100
_LABEL_FACTS = (
    "annotator",
    "note",
    "viewer",
    "model_version",
    "voxels",
    "findings",
    "lesions",
    "measurements",
    "lesion_numbers",
)


def viewer_router(app: LungLabelApp) -> APIRouter:
    """Return the viewer routes of ``app``."""
    router = APIRouter(
        prefix="/viewer",
        tags=["Viewer"],
        dependencies=[Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))],
    )

    @router.get(
        "/status",
        summary="Labelled cases, model in use and alternatives, running training, result of the last one",
    )
    def status() -> dict[str, Any]:
        info = app.info()
        model, stats = _last_trained(info["train_stats"])
        trainings = tasks("train")
        ended = [task for task in trainings if task["status"] not in ("SUBMITTED", "RUNNING")]
        return {
            "cases": info["datastore"]["total"],
            "not_in_ohif": sum(one.problem is None and not one.is_dicom for one in app.datastore().catalog.all()),
            "labelled": info["datastore"]["completed"],
            "model_version": info["model_version"],
            "model_problem": info["model_problem"],
            **_other_versions(app.models, info["model_version"]),
            "training": _progress(stats) if len(ended) < len(trainings) else None,
            "damaged": len(app.damage()),
            "verdict": (ended and _failure(ended[-1])) or _of_model(model, stats.get("verdict", {}).get("reason")),
        }

    @router.get("/case", summary="The latest final or else the initial label of an image, and other candidates")
    def case(image: str) -> dict[str, Any]:
        slices = app.datastore().series(image).instance_count
        labels = app.datastore().labels
        if damaged := labels.damage(image, former=False):  # do not silently fall back to an older label
            problems = [one.problem for one in damaged]
            return {"image": image, "label": None, "candidates": [], "damaged": problems, "skipped": None}
        current = labels.current(image)
        record = current.get(DefaultLabelTag.FINAL.value) or current.get(INITIAL)
        others = candidates(labels, image, slices)
        return {
            "image": image,
            "label": record and {**_described(record), "last_lesion_number": highest_number(labels, image)},
            "candidates": [to_json(one) for one in others] if len(others) > 1 else [],
            "damaged": [],
            "skipped": app.datastore().skipped.all().get(image),
        }

    @router.post("/prepare", summary="Prepare an image for clicks; the problem if that is not possible")
    async def prepare(http: Request, image: str) -> dict[str, str | None]:
        def prepared() -> str | None:
            try:
                app.prepare_clicks(image)
            except UserError as error:
                return str(error)
            return None

        return {"image": image, "problem": await app.preparations.run(http, prepared)}

    @router.get("/label", summary="Voxels of a label: uint8, column fastest, then row, then slice")
    def label(image: str, number: int) -> Response:
        datastore = app.datastore()
        grid = VoxelGrid.from_file(Path(datastore.get_image_uri(image)))
        record = next((r for r in datastore.labels.history(image) if r.number == number and r.sha256), None)
        if record is None:
            raise UserError(f"There is no label {number} of image {image}.", HTTPStatus.NOT_FOUND)
        stored = read_voxels(datastore.labels.content(record))
        if stored.shape != grid.shape:
            raise UserError(
                f"Label {number} was made when the series had {len(stored)} slices; it has {grid.size[2]} now.",
                HTTPStatus.CONFLICT,
            )
        voxels = gzip.compress(stored.tobytes(), compresslevel=1)
        return Response(voxels, media_type="application/octet-stream", headers={"Content-Encoding": "gzip"})

    @router.post("/skip", summary="Put an image aside; without a reason, offer it again")
    def skip(image: str, reason: str = "", by: str = "", user: User = Depends(_ANNOTATOR)) -> dict[str, Any]:
        app.datastore().series(image)
        who = user.username if settings.MONAI_LABEL_AUTH_ENABLE else " ".join(by.split())[:_LONGEST_NAME]
        skipped = app.datastore().skipped
        if reason:
            skipped.skip(image, reason, who or user.username, time.time())
        else:
            skipped.take_back(image)
        return {"skipped": skipped.all().get(image)}

    @router.get(
        "/midline", summary="Left-right position of the middle of the body, LPS mm; null where no lungs are seen"
    )
    def midline(image: str) -> dict[str, float | None]:
        return {"x": find_midline(sitk.ReadImage(app.datastore().get_image_uri(image)))}

    return router


def _other_versions(models: ModelStore, in_use: str | None) -> dict[str, Any]:
    """Return the last kept version with its verdict, unless it is in use, and the version in use before."""
    last = next(iter(models.manifests()[-1:]), None)
    kept = {"version": last["version"], "verdict": outcome(last)} if last and last["version"] != in_use else None
    previous = models.previous_version()
    return {"kept": kept, "previous": previous if previous != in_use else None}


def _last_trained(train_stats: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the model with the latest training statistics, and these; empty ones before the first training."""
    return max(train_stats.items(), key=lambda item: item[1].get("updated", 0), default=(SEGMENTATION, {}))


def _of_model(model: str, text: str | None) -> str | None:
    """Return a text with the name of the model, unless it is the automatic one."""
    return text if text is None or model == SEGMENTATION else f"{model}: {text}"


def _progress(stats: dict[str, Any]) -> dict[str, Any]:
    """Return the completed and total epochs of the running training; None before the first and after the last."""
    return {name: None if "verdict" in stats else stats.get(name) for name in ("epoch", "total_epochs")}


def _failure(task: dict[str, Any]) -> str | None:
    """Return why the last training ended without a verdict, or None."""
    if task["status"] == "STOPPED":
        return "Stopped before it was complete. The model in use is unchanged."
    if task["status"] != "ERROR":
        return None
    last_line = next(iter([*task.get("details", [])][-1:]), "it ended without an error message.")
    return _of_model(
        task.get("request", {}).get("model", SEGMENTATION),
        f"Failed: {last_line.rpartition('Error: ')[2]} The model in use is unchanged; see logs/app.log in the "
        "workspace.",
    )


def _described(record: LabelRecord) -> dict[str, Any]:
    return {
        "number": record.number,
        "tag": record.tag,
        "time": record.time,
        **{name: record.info.get(name) for name in _LABEL_FACTS},
    }
