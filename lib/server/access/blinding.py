"""Which requests are served to users whose view a reader study restricts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import parse_qsl

from lib.identity.authentication import Identity
from lib.reading.views import View
from lib.server.access.path_prefix import path_of
from lib.server.access.route_table import Blinded, RouteSpec, parameters

_IMAGES = ("image", "label")  # parameters with the id of an image, which is also that of its label
StudyOf = Mapping[str, str]  # StudyInstanceUID by SeriesInstanceUID
Refusal = tuple[HTTPStatus, str]


class Views(Protocol):
    """Views of the users while a server serves a study."""

    def of(self, identity: Identity | None) -> View:
        """Return the view of a user."""

    def refusal(self, identity: Identity | None, route: RouteSpec, scope: Mapping[str, Any]) -> Refusal | None:
        """Return status and message of the refusal of a request of a user; None if it is served."""


def refusal_in_study(view: View, route: RouteSpec, scope: Mapping[str, Any], study_of: StudyOf) -> Refusal | None:
    """Return status and message of the refusal of a request; None if it is served.

    Args:
        view: What the user may see.
        route: Entry of the route table.
        scope: ASGI scope of the request.
        study_of: Study of each image.
    """
    if not view.restricted or route.blinded is Blinded.OPEN:
        return None
    if route.blinded is Blinded.CLOSED:
        return HTTPStatus.FORBIDDEN, "A reader study runs on this server, which this request is not part of."
    in_path = parameters(route, path_of(scope))
    if route.blinded is Blinded.CASE:
        named = [*_named_images(in_path, scope)]
        shown = bool(named) and all(view.shows(image) for image in named)
    else:
        shown = _shows_dicom(view, in_path, study_of)
    return None if shown else (HTTPStatus.NOT_FOUND, "There is no such image that you may see in this study.")


def _named_images(in_path: Mapping[str, str], scope: Mapping[str, Any]) -> Iterator[str]:
    query = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
    yield from (value for name, value in (*in_path.items(), *query) if name in _IMAGES)


def _shows_dicom(view: View, in_path: Mapping[str, str], study_of: StudyOf) -> bool:
    """Return whether the study and series in a path are of images that the user may see; lists have neither."""
    study, series = in_path.get("study"), in_path.get("series")
    if series is not None:
        return study_of.get(series) == study and view.shows(series)
    return study is None or any(of == study and view.shows(image) for image, of in study_of.items())
