"""``/viewer`` routes: requests of the panel in OHIF beyond MONAI Label's own routes."""

from __future__ import annotations

import gzip
import math
import time
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from monailabel.endpoints.user.auth import User
from monailabel.utils.async_tasks.utils import tasks

from lib.datastore.label_record import read_voxels
from lib.datastore.lesion_history import highest_number
from lib.errors import UserError
from lib.geometry.voxel_grid import VoxelGrid
from lib.publishing import ModelStore
from lib.publishing.last_verdict import last_verdict, with_model
from lib.publishing.manifest import outcome
from lib.publishing.stores import SEGMENTATION
from lib.reading.preference_results import known_results
from lib.reading.views import View
from lib.server.app_protocol import LungLabelApp
from lib.server.current_user import author, current_user, described_user, is_logged_in, session_of, turn_of
from lib.server.review_routes import review_of_case
from lib.server.stored_labels import described, label_in_use, refused_objects, stored_labels
from lib.server.study_states import study_states
from lib.server.study_views import current_view, drafted_images, progress_of
from lib.server.training_text import describe_training
from lib.transforms.volume_lungs import LungRegion, find_volume_lungs

_TASK_TIME = "%Y-%m-%d %H:%M:%S"  # MONAI Label's, local


def viewer_router(app: LungLabelApp) -> APIRouter:
    """Return the viewer routes of ``app``."""
    router = APIRouter(
        prefix="/viewer",
        tags=["Viewer"],
    )

    @router.get(
        "/status",
        summary="Labelled cases, model in use and alternatives, running training, result of the last one",
    )
    def status(request: Request, user: User = Depends(current_user)) -> dict[str, Any]:
        view = current_view(request, app.datastore().labels)
        if view.restricted:
            return {"user": described_user(user), **_status_in_study(view, app)}
        info = app.info()
        stats = _last_trained(info["train_stats"])
        trainings = tasks("train")
        stores = {name: config.store for name, config in app.configs.items()}
        ended = [task for task in trainings if task["status"] not in ("SUBMITTED", "RUNNING")]
        return {
            "user": described_user(user),
            "cases": info["datastore"]["total"],
            "not_in_ohif": sum(one.problem is None and not one.is_dicom for one in app.datastore().catalog.all()),
            "labelled": info["datastore"]["completed"],
            "model_version": info["model_version"],
            "model_problem": info["model_problem"],
            "versions": [_versions(name, store) for name, store in stores.items()],
            "training": _progress(stats, trainings[-1]) if len(ended) < len(trainings) else None,
            "damaged": len(app.damage()),
            "verdict": last_verdict(info["train_stats"], stores),
            "preferences": _preferences(app, stores[SEGMENTATION]),
            "interrupted": _failure(ended[-1]) if ended else None,
        }

    @router.get("/case", summary="The latest final or else the initial label of an image, and all that are stored")
    def case(image: str, request: Request, user: User = Depends(current_user)) -> dict[str, Any]:
        app.datastore().series(image)
        view = current_view(request, app.datastore().labels)
        labels = view.labels
        tells_others = is_logged_in(user) and not view.restricted
        record = label_in_use(labels, image)
        return {
            "image": image,
            "label": record and described(record),
            "last_lesion_number": highest_number(labels, image),
            "stored": stored_labels(labels, image),
            "refused": [] if view.restricted else refused_objects(app.initial_labels.refused(image)),
            "damaged": [one.problem for one in labels.damage(image, former=False)],
            "skipped": None if view.restricted else app.datastore().skipped.all().get(image),
            "others": app.others_at_work(image, user.username, session_of(request)) if tells_others else [],
            "review": None if view.restricted else review_of_case(app.datastore(), record, user),
        }

    @router.get("/studies", summary="State of each series, by study: labelled, skipped, in work, imported or to do")
    def studies(request: Request, user: User = Depends(current_user)) -> dict[str, list[dict[str, Any]]]:
        view = current_view(request, app.datastore().labels)
        drafts = drafted_images(view, user.username, app.datastore())
        return study_states(app.datastore(), app.in_work(), drafts, view)

    @router.post("/prepare", summary="Prepare an image for clicks; the problem if that is not possible")
    async def prepare(http: Request, image: str) -> dict[str, str | None]:
        def prepared() -> str | None:
            try:
                app.prepare_clicks(image)
            except UserError as error:
                return str(error)
            return None

        return {"image": image, "problem": await app.queues.preparations.run(http, prepared, turn_of(http))}

    @router.get("/inference", summary="Share of the slices that the model has seen; null unless it runs on the image")
    def inference(image: str) -> dict[str, Any]:
        return {"image": image, "share": app.progress.share(image)}

    @router.get("/label", summary="Voxels of a label: uint8, column fastest, then row, then slice")
    def label(image: str, number: int, request: Request) -> Response:
        datastore = app.datastore()
        labels = current_view(request, datastore.labels).labels
        grid = VoxelGrid.from_file(Path(datastore.get_image_uri(image)))
        record = next((r for r in labels.history(image) if r.number == number and r.sha256), None)
        if record is None:
            raise UserError(f"There is no label {number} of image {image}.", HTTPStatus.NOT_FOUND)
        stored = read_voxels(labels.content(record))
        if stored.shape != grid.shape:
            raise UserError(
                f"Label {number} was made when the series had {len(stored)} slices; it has {grid.size[2]} now.",
                HTTPStatus.CONFLICT,
            )
        voxels = gzip.compress(stored.tobytes(), compresslevel=1)
        return Response(voxels, media_type="application/octet-stream", headers={"Content-Encoding": "gzip"})

    @router.post("/skip", summary="Put an image aside; without a reason, offer it again")
    def skip(image: str, reason: str = "", by: str = "", user: User = Depends(current_user)) -> dict[str, Any]:
        app.datastore().series(image)
        skipped = app.datastore().skipped
        if reason:
            skipped.skip(image, reason, author(user, by), time.time())
        else:
            skipped.take_back(image)
        return {"skipped": skipped.all().get(image)}

    @router.get(
        "/lungs",
        summary="Left-right position of the middle of the body, LPS mm, and where lesions of the lungs can be, as runs "
        "of voxels of a coarse grid; null where no lungs are seen",
    )
    def lungs(image: str) -> dict[str, Any]:
        found = find_volume_lungs(sitk.ReadImage(app.datastore().get_image_uri(image)))
        return {"midline": found and found.midline, "region": found and _runs(found.region())}

    return router


def _status_in_study(view: View, app: LungLabelApp) -> dict[str, Any]:
    """Return the status for a user of a reader study: the own progress, and nothing of others or of trainings."""
    progress = progress_of(view, app.datastore())
    return {
        "cases": progress["total"],
        "not_in_ohif": 0,
        "labelled": progress["completed"],
        "model_version": app.info()["model_version"],
        "versions": [],
        "damaged": 0,
        "preferences": [],
        **dict.fromkeys(("model_problem", "training", "verdict", "interrupted")),
    }


def _runs(region: LungRegion) -> dict[str, Any]:
    """Return a mask as runs, as in ``lib/viewer/panel/runs.js``: how many voxels are skipped, then how many follow."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], region.mask.ravel(), [False]]).astype(np.int8)))
    return {
        "size": region.mask.shape[::-1],
        "start": region.start,
        "steps": region.steps,
        "runs": np.diff(edges, prepend=0).tolist(),
    }


def _versions(model: str, store: ModelStore) -> dict[str, Any]:
    """Return the version in use, the last kept one with its verdict, and the one in use before; none of them twice."""
    in_use, previous = store.serving_version(), store.previous_version()
    last = next(iter(store.manifests()[-1:]), None)
    kept = {"version": last["version"], "verdict": outcome(last)} if last and last["version"] != in_use else None
    offered = {in_use, kept and kept["version"]}
    return {"model": model, "in_use": in_use, "kept": kept, "previous": None if previous in offered else previous}


def _preferences(app: LungLabelApp, store: ModelStore) -> list[str]:
    """Return what blinded readers prefer, of the studies about a version that can be put into use from the panel."""
    versions = _versions(SEGMENTATION, store)
    offered = {versions["in_use"], versions["previous"], (versions["kept"] or {}).get("version")}
    return [one["sentence"] for one in known_results(app.settings.workspace) if offered & {*one["compare"]}]


def _last_trained(train_stats: dict[str, Any]) -> dict[str, Any]:
    """Return the latest training statistics; empty before the first training."""
    return max(train_stats.values(), key=lambda one: one.get("updated", 0), default={})


def _progress(stats: dict[str, Any], task: dict[str, Any]) -> dict[str, Any]:
    """Return the progress of the running training; epochs are None before the first and after the last."""
    started = time.mktime(time.strptime(task["start_ts"], _TASK_TIME)) if task["start_ts"] else math.inf
    current = stats.get("updated", 0) >= started and "verdict" not in stats  # not those of a former training
    known = stats if current else {}
    return {"epoch": known.get("epoch"), "total_epochs": known.get("total_epochs"), "text": describe_training(known)}


def _failure(task: dict[str, Any]) -> str | None:
    """Return why the last training ended before its verdict, or None."""
    if task["status"] == "STOPPED":
        return "Stopped before it was complete. The model in use is unchanged."
    if task["status"] != "ERROR":
        return None
    last_line = next(iter([*task.get("details", [])][-1:]), "it ended without an error message.")
    return with_model(
        task.get("request", {}).get("model", SEGMENTATION),
        f"Failed: {last_line.rpartition('Error: ')[2]} The model in use is unchanged; see logs/app.log in the "
        "workspace.",
    )
