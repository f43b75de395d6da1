"""``GET /attention/{image}``: the probability and the attention map as a PNG picture, for OHIF."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from lib.evaluation.attention_picture import attention_picture
from lib.geometry.voxel_grid import VoxelGrid
from lib.server.app_protocol import LungLabelApp
from lib.server.current_user import turn_of
from lib.server.study_views import restricted_view


def attention_router(app: LungLabelApp) -> APIRouter:
    """Return the attention picture route of ``app``."""
    router = APIRouter(tags=["Infer"])

    @router.get("/attention/{image}", summary="Slices with mask, probability and attention map, PNG")
    async def attention(image: str, http: Request) -> Response:
        def check() -> None:
            app.datastore().series(image)
            if view := restricted_view(http):
                view.check_model(image, by_clicks=False)

        await run_in_threadpool(check)  # invalid requests fail before they are queued
        picture = await app.queues.inferences.run(http, lambda: _picture(app, image), turn_of(http))
        return Response(picture, media_type="image/png")

    return router


def _picture(app: LungLabelApp, image: str) -> bytes:
    volume = sitk.ReadImage(app.datastore().get_image_uri(image))
    parts = (volume, *(_like(one, volume) for one in app.mask_and_maps(image)))
    hu, *others = (sitk.DICOMOrient(part, "LPS") for part in parts)
    mask, probability, attention = map(_voxels, others)
    return attention_picture(_voxels(hu), mask, probability, attention, hu.GetSpacing())


def _like(voxels: np.ndarray, volume: sitk.Image) -> sitk.Image:
    return VoxelGrid.from_image(volume).image(np.ascontiguousarray(voxels.transpose()))


def _voxels(image: sitk.Image) -> np.ndarray:
    """Return the voxels of an image as (column, row, slice)."""
    return sitk.GetArrayViewFromImage(image).transpose(2, 1, 0)
