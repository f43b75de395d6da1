"""``/viewer`` routes: other studies of the patient, and the comparison of a series with one of them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from monailabel.interfaces.datastore import DefaultLabelTag
from pydantic import BaseModel, Field

from lib.errors import UserError
from lib.followup.former_lesions import FormerLesion, former_lesions
from lib.followup.lesion_matching import PlacedLesion
from lib.followup.other_studies import OtherSeries, other_studies, other_study
from lib.followup.registration import Registration
from lib.server.app_protocol import LungLabelApp
from lib.server.study_views import current_view

_FINAL = DefaultLabelTag.FINAL.value
_MOST_LESIONS = 1000

_LARGEST_MM3 = 1e9  # of a lesion; numbers far beyond a body overflow

_Position = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]


class _Lesion(BaseModel):
    """A lesion of the mask on the screen: its number, centre (LPS mm) and volume."""

    number: int
    centre: tuple[_Position, _Position, _Position]
    volume_mm3: Annotated[float, Field(gt=0, le=_LARGEST_MM3, allow_inf_nan=False)]


class _Lesions(BaseModel):
    lesions: Annotated[list[_Lesion], Field(max_length=_MOST_LESIONS)] = []


def followup_router(app: LungLabelApp) -> APIRouter:
    """Return the routes of ``app`` on other studies."""
    router = APIRouter(prefix="/viewer", tags=["Viewer"])

    @router.get("/other-studies", summary="CT series of other studies of the patient, the best to compare with first")
    def others(request: Request, image: str) -> list[dict[str, Any]]:
        if current_view(request, app.datastore().labels).restricted:
            return []  # in a reader study, a case stands alone
        return [_listed(one) for one in other_studies(app.datastore(), image)]

    @router.post("/comparison", summary="Registration to a series of another study, and growth of lesions since")
    def comparison(image: str, other: str, current: _Lesions) -> dict[str, Any]:
        known = other_study(app.datastore(), image, other)
        registration = app.registering.request(image, other)
        if registration is None:
            return {"registration": None, "lesions": {}}
        lesions = {} if registration.problem else _followed(app, image, known, registration, current.lesions)
        return {
            "registration": _described(registration),
            "lesions": {number: _as_json(one) for number, one in lesions.items()},
        }

    return router


def _listed(one: OtherSeries) -> dict[str, Any]:
    return {
        "series": one.series,
        "study": one.study,
        "date": one.date and one.date.isoformat(),
        "days": one.days,
        "description": one.description,
        "slice_thickness": one.slice_thickness,
        "kernel": one.kernel,
        "labelled": one.labelled,
    }


def _described(registration: Registration) -> dict[str, Any]:
    return {
        "matrix": registration.matrix.tolist(),
        "correlation": round(registration.correlation, 3),
        "problem": registration.problem,
    }


def _followed(
    app: LungLabelApp, image: str, other: OtherSeries, registration: Registration, lesions: list[_Lesion]
) -> dict[int, FormerLesion]:
    """Return what the lesions on the screen were in an earlier study; none if that has no label."""
    if not other.is_earlier or not other.labelled or not lesions or other.date is None or other.days is None:
        return {}
    uids = _tracking_uids(app, image)
    current = [PlacedLesion(one.number, one.centre, one.volume_mm3, uids.get(one.number, "")) for one in lesions]
    former = app.exports.placed_lesions(app.datastore().labels.latest(other.series, _FINAL))
    return former_lesions(current, former, registration, other.date, other.days)


def _tracking_uids(app: LungLabelApp, image: str) -> dict[int, str]:
    """Return the tracking UID of each lesion of the label in use, by number; none if there is no readable one."""
    record = app.datastore().labels.in_use(image).get(_FINAL)
    try:
        lesions = app.exports.placed_lesions(record) if record else []
    except UserError:
        lesions = []
    return {one.number: one.uid for one in lesions}


def _as_json(one: FormerLesion) -> dict[str, Any]:
    return {
        "date": one.date.isoformat(),
        "number": one.number,
        "volume": one.volume_mm3,
        "change_percent": one.growth.change_percent,
        "change": one.growth.change.value,
        "doubling_days": one.growth.doubling_days,
        "shortest_days": one.growth.shortest_days,
        "longest_days": one.growth.longest_days,
    }
