"""Every route that the server offers, with the reason why.

What is not in the table does not exist: `keep_offered` takes the routes of MONAI Label and of this app that are not
named here out of the server. Names of path parameters do not matter.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute, Route, compile_path

_PARAMETER = re.compile(r"{[^}:]*(:path)?}")


class Body(Enum):
    """Kind of body of a request, which decides how large it may be."""

    SMALL = "parameters"
    UPLOAD = "an image, a label or weights"
    DICOM = "DICOM objects"


@dataclass(frozen=True)
class Offer:
    """One route.

    Attributes:
        method: Of HTTP.
        path: As FastAPI writes it.
        reason: Who needs it.
        body: What may be sent along.
        costs: A GET that takes so much work that nobody else's page may start it.
        page: A page that a link elsewhere may lead to.
    """

    method: str
    path: str
    reason: str
    body: Body = Body.SMALL
    costs: bool = False
    page: bool = False


_STUDY = "/proxy/dicom/{service}/studies/{study}"
_SERIES = f"{_STUDY}/series/{{series}}"
_INSTANCE = f"{_SERIES}/instances/{{instance}}"

OFFERS = (
    # --- pages for people
    Offer("GET", "/", "leads to the status page", page=True),
    Offer("GET", "/status", "status page", page=True),
    Offer("GET", "/status/data", "status page"),
    Offer("GET", "/favicon.ico", "browsers ask for it"),
    Offer("GET", "/logs/", "status page links to it; plain text", page=True),
    Offer("GET", "/logs/gpu", "what nvidia-smi says, for whom the server is on another machine"),
    Offer("GET", "/openapi.json", "description of these routes for programs"),
    # --- OHIF and the panel in it
    Offer("GET", "/ohif/app-config.js", "OHIF's configuration"),
    Offer("GET", "/ohif/lunglabel/{name}", "the panel"),
    Offer("GET", "/ohif/{path:path}", "OHIF's files and pages", page=True),
    Offer("GET", "/viewer/status", "panel, status page"),
    Offer("GET", "/viewer/case", "panel"),
    Offer("GET", "/viewer/label", "panel: Load label", costs=True),
    Offer("GET", "/attention/{image}", "panel: the attention map; runs an inference", costs=True),
    # --- DICOMweb, for OHIF (PS3.18 chapter 10)
    Offer("GET", "/proxy/dicom/{service}/studies", "QIDO-RS: OHIF's study list"),
    Offer("GET", "/proxy/dicom/{service}/series", "QIDO-RS: status of SEGs, other viewers"),
    Offer("GET", "/proxy/dicom/{service}/instances", "QIDO-RS: other viewers"),
    Offer("GET", f"{_STUDY}/series", "QIDO-RS: OHIF's side panel"),
    Offer("GET", f"{_STUDY}/instances", "QIDO-RS: other viewers"),
    Offer("GET", f"{_SERIES}/instances", "QIDO-RS: other viewers"),
    Offer("GET", f"{_STUDY}/metadata", "WADO-RS: OHIF opens a study"),
    Offer("GET", f"{_SERIES}/metadata", "WADO-RS: OHIF opens a series"),
    Offer("GET", f"{_INSTANCE}/metadata", "WADO-RS: other viewers"),
    Offer("GET", _SERIES, "WADO-RS: other viewers load a series"),
    Offer("GET", _INSTANCE, "WADO-RS: OHIF loads a SEG"),
    Offer("GET", f"{_INSTANCE}/frames/{{frames}}", "WADO-RS: OHIF's pixels"),
    Offer("POST", "/proxy/dicom/{service}/studies", "STOW-RS: a viewer stores a SEG", Body.DICOM),
    Offer("POST", _STUDY, "STOW-RS: a viewer stores a SEG of a study", Body.DICOM),
    Offer("GET", "/proxy/dicom/{service}/{path:path}", "DICOMweb of a PACS"),
    Offer("POST", "/proxy/dicom/{service}/{path:path}", "DICOMweb of a PACS", Body.DICOM),
    # --- MONAI Label's clients: OHIF's extension, 3D Slicer, scripts
    Offer("GET", "/info/", "every client asks what there is"),
    Offer("POST", "/infer/{model}", "Run", Body.UPLOAD),
    Offer("POST", "/batch/infer/{model}", "scripts: segment all"),
    Offer("GET", "/batch/infer", "scripts: how far it is"),
    Offer("DELETE", "/batch/infer", "scripts: stop it"),
    Offer("POST", "/activelearning/{strategy}", "Next sample"),
    Offer("POST", "/train/{model}", "Train"),
    Offer("POST", "/train/", "Train, as older versions of OHIF's extension and Slicer ask for it"),
    Offer("GET", "/train/", "how far the training is"),
    Offer("DELETE", "/train/", "stop it"),
    Offer("POST", "/scoring/{method}", "scripts: score all for the next sample"),
    Offer("POST", "/scoring/", "the same, older"),
    Offer("GET", "/scoring/", "how far it is"),
    Offer("DELETE", "/scoring/", "stop it"),
    Offer("GET", "/datastore/", "Slicer and scripts list the images; output=train makes volumes", costs=True),
    Offer("PUT", "/datastore/", "Slicer sends an image: refused with a sentence", Body.UPLOAD),
    Offer("PUT", "/datastore/image", "Slicer sends an image: refused with a sentence", Body.UPLOAD),
    Offer("GET", "/datastore/image", "Slicer loads an image", costs=True),
    Offer("HEAD", "/datastore/image", "Slicer compares the image that it has", costs=True),
    Offer("GET", "/datastore/image/info", "Slicer, scripts"),
    Offer("PUT", "/datastore/image/info", "scripts note something about an image"),
    Offer("PUT", "/datastore/label", "Submit", Body.UPLOAD),
    Offer("GET", "/datastore/label", "Slicer and scripts load a label, in several formats", costs=True),
    Offer("HEAD", "/datastore/label", "is there a label?"),
    Offer("GET", "/datastore/label/info", "Slicer, scripts"),
    Offer("PUT", "/datastore/label/info", "scripts note something about a label"),
    Offer("PUT", "/datastore/updatelabelinfo", "the same, as Slicer's older client asks for it"),
    Offer("GET", "/datastore/dataset", "scripts download all that is labelled", costs=True),
    Offer("PUT", "/session/", "Slicer sends an image once for several runs", Body.UPLOAD),
    Offer("GET", "/session/{session_id}", "Slicer"),
    Offer("DELETE", "/session/{session_id}", "Slicer"),
    Offer("GET", "/model/{model}", "scripts download the weights", costs=True),
    Offer("GET", "/model/info/{model}", "scripts ask for their checksum"),
    Offer("PUT", "/model/{model}", "scripts send weights", Body.UPLOAD),
    Offer("DELETE", "/model/{model}", "refused with a sentence"),
    Offer("POST", "/model/{model}/serve", "panel: Use it, Go back"),
)

_MAX_CACHED_LENGTH = 512
_NOT_OFFERED = Offer("", "", "not in the table")


def keep_offered(routes: Iterable[BaseRoute]) -> list[Route]:
    """Return the routes of the table, in their order; of one that is there twice, the first.

    Args:
        routes: Of a FastAPI application, with those of its routers.
    """
    missing = {(offer.method, _pattern(offer.path)) for offer in OFFERS}
    kept = []
    for context in iter_route_contexts(list(routes)):
        route = context.original_route
        if not isinstance(route, Route):
            continue  # a mounted folder or application offers what nobody listed
        methods = {method for method in route.methods or () if (method, _pattern(route.path)) in missing}
        if methods:
            missing -= {(method, _pattern(route.path)) for method in methods}
            route.methods = methods
            kept.append(route)
    return kept


def offer_of(method: str, path: str) -> Offer:
    """Return what the table says of a request; of one that it does not have, an offer of nothing."""
    # A path may have 64 KiB: only those that a viewer asks for by the hundred are cached.
    return (_cached_offer if len(method) + len(path) <= _MAX_CACHED_LENGTH else _find_offer)(method, path)


def _find_offer(method: str, path: str) -> Offer:
    return next((offer for offer, regex in _COMPILED if offer.method == method and regex.fullmatch(path)), _NOT_OFFERED)


def _pattern(path: str) -> str:
    """Return the path without the names of its parameters."""
    return _PARAMETER.sub(r"{\1}", path)


_cached_offer = functools.lru_cache(maxsize=1024)(_find_offer)
_COMPILED = [(offer, compile_path(offer.path)[0]) for offer in OFFERS]
