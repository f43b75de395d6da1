"""Table of all routes of the server, with the reason for each, and who may use it.

`filter_routes` removes all other routes of MONAI Label and of this app. Names of path parameters are ignored.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute, Route, compile_path

from lib.identity.roles import Role

_PARAMETER = re.compile(r"{[^}:]*(:path)?}")


class Body(Enum):
    """Kind of a request body, which determines its size limit."""

    SMALL = "parameters"
    UPLOAD = "an image, a label or weights"
    DICOM = "DICOM objects"


class Blinded(Enum):
    """What a route is for users who take part in a reader study, and for those who have no part in it.

    A new route is closed to them until somebody has thought about what it shows.
    """

    CLOSED = "refused: it shows or changes what is not theirs"
    OPEN = "served: it has nothing of any case, or asks the view of the user"
    CASE = "served for images that the user may see; image or label in its path or query names one"
    DICOM = "served for studies and series that the user may see"


@dataclass(frozen=True)
class RouteSpec:
    """One route of the table.

    Attributes:
        method: HTTP method.
        path: Path in the syntax of FastAPI.
        reason: Who needs the route.
        body: Kind of the request body.
        expensive: Whether a GET takes so much work that pages of other sites must not send it.
        page: Whether the route is a page that other sites may link to.
        role: Lowest role that may use the route where log-in is required; None if no log-in is needed.
        audit: What the audit log says that the user did; empty if the route is not logged.
        blinded: What the route is for users whose view a reader study restricts.
    """

    method: str
    path: str
    reason: str
    body: Body = Body.SMALL
    expensive: bool = False
    page: bool = False
    role: Role | None = Role.USER
    audit: str = ""
    blinded: Blinded = Blinded.CLOSED


_ANNOTATOR, _REVIEWER, _ADMIN = Role.ANNOTATOR, Role.REVIEWER, Role.ADMIN
_OPEN, _CASE, _DICOM = Blinded.OPEN, Blinded.CASE, Blinded.DICOM
_STUDY = "/proxy/dicom/{service}/studies/{study}"
_SERIES = f"{_STUDY}/series/{{series}}"
_INSTANCE = f"{_SERIES}/instances/{{instance}}"

ROUTES = (
    # --- pages for people
    RouteSpec("GET", "/", "redirects to the status page", page=True),
    RouteSpec("GET", "/status", "status page", page=True),
    RouteSpec("GET", "/status/data", "status page"),
    RouteSpec("GET", "/favicon.ico", "requested by browsers", role=None, blinded=_OPEN),
    RouteSpec("GET", "/logs/", "status page links to it; plain text", page=True, role=_ADMIN),
    RouteSpec("GET", "/logs/gpu", "output of nvidia-smi, for users of a remote server", role=_ADMIN),
    RouteSpec("GET", "/openapi.json", "description of these routes for programs", blinded=_OPEN),
    # --- log-in
    RouteSpec("GET", "/login", "log-in page", page=True, role=None, blinded=_OPEN),
    RouteSpec("POST", "/login", "form of the log-in page", role=None, blinded=_OPEN),
    RouteSpec("GET", "/login/oidc", "log-in page: log in at the identity provider", role=None, blinded=_OPEN),
    RouteSpec(
        "GET", "/login/oidc/callback", "the identity provider leads back to it", page=True, role=None, blinded=_OPEN
    ),
    RouteSpec("POST", "/logout", "panel, status page: log-out", role=None, blinded=_OPEN),
    RouteSpec("GET", "/auth/", "Slicer asks whether to log in", role=None, blinded=_OPEN),
    RouteSpec("POST", "/auth/token", "Slicer and scripts log in", role=None, blinded=_OPEN),
    RouteSpec("GET", "/auth/token/valid", "Slicer, scripts: who is logged in", blinded=_OPEN),
    # --- OHIF and the panel in it
    RouteSpec("GET", "/ohif/app-config.js", "OHIF's configuration", blinded=_OPEN),
    RouteSpec("GET", "/ohif/lunglabel/{name}", "the panel", blinded=_OPEN),
    RouteSpec("GET", "/ohif/{path:path}", "OHIF's files and pages", page=True, blinded=_OPEN),
    RouteSpec("GET", "/viewer/status", "panel, status page", blinded=_OPEN),
    RouteSpec("GET", "/viewer/case", "panel", blinded=_CASE),
    RouteSpec("GET", "/viewer/reading", "panel: the study that the user takes part in", blinded=_OPEN),
    RouteSpec("GET", "/viewer/disagreements", "panel, scripts: cases that a reviewer decides on", blinded=_OPEN),
    RouteSpec("GET", "/viewer/preference", "panel, scripts: what a preference study asks about a case", blinded=_CASE),
    RouteSpec(
        "POST", "/viewer/preference", "panel, scripts: the answer", role=_ANNOTATOR, audit="judged", blinded=_CASE
    ),
    RouteSpec("GET", "/viewer/studies", "study list: what is labelled", blinded=_OPEN),
    RouteSpec("POST", "/viewer/prepare", "panel: makes the first click on an image fast", blinded=_CASE),
    RouteSpec("GET", "/viewer/inference", "panel: how far the model has got on an image", blinded=_CASE),
    RouteSpec("GET", "/viewer/label", "panel: Load label", expensive=True, audit="loaded label", blinded=_CASE),
    RouteSpec("POST", "/viewer/skip", "panel: Skip", role=_ANNOTATOR, audit="skipped"),
    RouteSpec("POST", "/viewer/review/approve", "panel: Approve", role=_REVIEWER, audit="approved"),
    RouteSpec("POST", "/viewer/review/send-back", "panel: Send back", role=_REVIEWER, audit="sent back"),
    RouteSpec("GET", "/viewer/draft", "panel: what the user has painted and not submitted", blinded=_CASE),
    RouteSpec("PUT", "/viewer/draft", "panel: keeps it", role=_ANNOTATOR, blinded=_CASE),
    RouteSpec("DELETE", "/viewer/draft", "panel: it was submitted or discarded", role=_ANNOTATOR, blinded=_CASE),
    RouteSpec(
        "GET", "/viewer/lungs", "panel: sides, painting in the lungs; reads the volume", expensive=True, blinded=_CASE
    ),
    RouteSpec("GET", "/viewer/other-studies", "panel: earlier and later studies of the patient", blinded=_CASE),
    RouteSpec("POST", "/viewer/comparison", "panel: registration to another study, growth of the lesions since"),
    RouteSpec(
        "GET", "/attention/{image}", "panel: the probability map; runs an inference", expensive=True, blinded=_CASE
    ),
    # --- DICOMweb, for OHIF (PS3.18 chapter 10)
    RouteSpec("GET", "/proxy/dicom/{service}/studies", "QIDO-RS: OHIF's study list", blinded=_DICOM),
    RouteSpec("GET", "/proxy/dicom/{service}/series", "QIDO-RS: status of SEGs, other viewers", blinded=_DICOM),
    RouteSpec("GET", "/proxy/dicom/{service}/instances", "QIDO-RS: other viewers", blinded=_DICOM),
    RouteSpec("GET", f"{_STUDY}/series", "QIDO-RS: OHIF's side panel", blinded=_DICOM),
    RouteSpec("GET", f"{_STUDY}/instances", "QIDO-RS: other viewers", blinded=_DICOM),
    RouteSpec("GET", f"{_SERIES}/instances", "QIDO-RS: other viewers", blinded=_DICOM),
    RouteSpec("GET", f"{_STUDY}/metadata", "WADO-RS: OHIF opens a study", audit="opened", blinded=_DICOM),
    RouteSpec("GET", f"{_SERIES}/metadata", "WADO-RS: OHIF opens a series", audit="opened", blinded=_DICOM),
    RouteSpec("GET", f"{_INSTANCE}/metadata", "WADO-RS: other viewers", audit="opened", blinded=_DICOM),
    RouteSpec("GET", _SERIES, "WADO-RS: other viewers load a series", audit="opened", blinded=_DICOM),
    RouteSpec("GET", _INSTANCE, "WADO-RS: OHIF loads a SEG", audit="opened", blinded=_DICOM),
    RouteSpec("GET", f"{_INSTANCE}/frames/{{frames}}", "WADO-RS: OHIF's pixels", audit="opened", blinded=_DICOM),
    RouteSpec(
        "POST",
        "/proxy/dicom/{service}/studies",
        "STOW-RS: a viewer stores a SEG",
        Body.DICOM,
        role=_ANNOTATOR,
        audit="stored",
    ),
    RouteSpec("POST", _STUDY, "STOW-RS: the same, for a study", Body.DICOM, role=_ANNOTATOR, audit="stored"),
    RouteSpec("GET", "/proxy/dicom/{service}/{path:path}", "DICOMweb of a PACS"),
    RouteSpec(
        "POST",
        "/proxy/dicom/{service}/{path:path}",
        "DICOMweb of a PACS",
        Body.DICOM,
        role=_ANNOTATOR,
        audit="stored",
    ),
    # --- MONAI Label's clients: OHIF's extension, 3D Slicer, scripts
    RouteSpec("GET", "/info/", "every client: models, strategies, labels", blinded=_OPEN),
    RouteSpec("POST", "/infer/{model}", "Run", Body.UPLOAD, audit="ran model", blinded=_CASE),
    RouteSpec("POST", "/batch/infer/{model}", "scripts: segment all", role=_REVIEWER, audit="ran model"),
    RouteSpec("GET", "/batch/infer", "scripts: progress"),
    RouteSpec("DELETE", "/batch/infer", "scripts: stop it", role=_REVIEWER),
    RouteSpec("POST", "/activelearning/{strategy}", "Next sample", role=_ANNOTATOR, blinded=_OPEN),
    RouteSpec("POST", "/train/{model}", "Train", role=_REVIEWER, audit="trained"),
    RouteSpec(
        "POST",
        "/train/",
        "Train, by older OHIF and Slicer",
        role=_REVIEWER,
        audit="trained",
    ),
    RouteSpec("GET", "/train/", "progress of the training"),
    RouteSpec("DELETE", "/train/", "stop the training", role=_REVIEWER, audit="stopped training"),
    RouteSpec("POST", "/scoring/{method}", "scripts: score all for the next sample", role=_REVIEWER),
    RouteSpec("POST", "/scoring/", "the same, for older clients", role=_REVIEWER),
    RouteSpec("GET", "/scoring/", "progress of the scoring"),
    RouteSpec("DELETE", "/scoring/", "stop the scoring", role=_REVIEWER),
    RouteSpec(
        "GET",
        "/datastore/",
        "Slicer and scripts list the images; output=train makes volumes",
        expensive=True,
        blinded=_OPEN,
    ),
    RouteSpec("PUT", "/datastore/", "Slicer sends an image: refused", Body.UPLOAD, role=_ANNOTATOR),
    RouteSpec("PUT", "/datastore/image", "Slicer sends an image: refused", Body.UPLOAD, role=_ANNOTATOR),
    RouteSpec("GET", "/datastore/image", "Slicer loads an image", expensive=True, audit="opened", blinded=_CASE),
    RouteSpec("HEAD", "/datastore/image", "Slicer compares its cached image", expensive=True, blinded=_CASE),
    RouteSpec("GET", "/datastore/image/info", "Slicer, scripts", blinded=_CASE),
    RouteSpec("PUT", "/datastore/image/info", "scripts store metadata of an image", role=_ANNOTATOR, audit="noted"),
    RouteSpec("PUT", "/datastore/label", "Submit", Body.UPLOAD, role=_ANNOTATOR, audit="labelled", blinded=_CASE),
    RouteSpec(
        "GET", "/datastore/label", "Slicer and scripts load a label", expensive=True, audit="exported", blinded=_CASE
    ),
    RouteSpec("HEAD", "/datastore/label", "is there a label?", blinded=_CASE),
    RouteSpec("GET", "/datastore/label/info", "Slicer, scripts", blinded=_CASE),
    RouteSpec("PUT", "/datastore/label/info", "scripts store metadata of a label", role=_ANNOTATOR, audit="noted"),
    RouteSpec(
        "PUT",
        "/datastore/updatelabelinfo",
        "the same, by Slicer's older client",
        role=_ANNOTATOR,
        audit="noted",
    ),
    RouteSpec(
        "GET",
        "/datastore/dataset",
        "scripts: all labelled images",
        expensive=True,
        role=_ANNOTATOR,
        audit="exported",
    ),
    RouteSpec("PUT", "/session/", "Slicer sends an image once for several runs", Body.UPLOAD),
    RouteSpec("GET", "/session/{session_id}", "Slicer"),
    RouteSpec("DELETE", "/session/{session_id}", "Slicer"),
    RouteSpec(
        "GET", "/model/{model}", "scripts download the weights", expensive=True, role=_REVIEWER, audit="exported"
    ),
    RouteSpec("GET", "/model/info/{model}", "scripts request the checksum of the weights"),
    RouteSpec("PUT", "/model/{model}", "scripts send weights", Body.UPLOAD, role=_ADMIN, audit="uploaded"),
    RouteSpec("DELETE", "/model/{model}", "refused with a message", role=_ADMIN),
    RouteSpec("POST", "/model/{model}/serve", "panel: Use it, Go back", role=_REVIEWER, audit="published"),
)

_MAX_CACHED_LENGTH = 512
_NOT_LISTED = RouteSpec("", "", "not in the table")


def filter_routes(routes: Iterable[BaseRoute]) -> list[Route]:
    """Return the routes that are in the table, in their order, without duplicates.

    Args:
        routes: Routes of a FastAPI application, including those of its routers.
    """
    missing = {(spec.method, _pattern(spec.path)) for spec in ROUTES}
    kept = []
    for context in iter_route_contexts(list(routes)):
        route = context.original_route
        if not isinstance(route, Route):
            continue  # a mounted folder or application has routes that are not listed
        methods = {method for method in route.methods or () if (method, _pattern(route.path)) in missing}
        if methods:
            missing -= {(method, _pattern(route.path)) for method in methods}
            route.methods = methods
            kept.append(route)
    return kept


def find_route(method: str, path: str) -> RouteSpec:
    """Return the entry of the table for a request; an empty one with the smallest body limit if it is not listed."""
    # A path may have 64 KiB; only the short ones, which a viewer requests by the hundred, are cached.
    return (_find_cached if len(method) + len(path) <= _MAX_CACHED_LENGTH else _find)(method, path)


def _find(method: str, path: str) -> RouteSpec:
    # Starlette's router uses match() as well; any difference would serve a route by the rules of another.
    return next((spec for spec, regex in _COMPILED if spec.method == method and regex.match(path)), _NOT_LISTED)


def _pattern(path: str) -> str:
    """Return the path without the names of its parameters."""
    return _PARAMETER.sub(r"{\1}", path)


def parameters(spec: RouteSpec, path: str) -> dict[str, str]:
    """Return the parameters in the path of a request for this route."""
    match = next((regex.match(path) for one, regex in _COMPILED if one is spec), None)
    return match.groupdict() if match else {}


_find_cached = functools.lru_cache(maxsize=1024)(_find)
_COMPILED = [(spec, compile_path(spec.path)[0]) for spec in ROUTES]
