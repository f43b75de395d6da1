"""The view of the user of a request: everything, or in a reader study what the user may see."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import Request

from lib.datastore.catalog import SeriesCatalog
from lib.datastore.label_store import LabelStore
from lib.datastore.series_datastore import SeriesDatastore
from lib.identity.authentication import Identity
from lib.identity.roles import Role
from lib.reading.compared_outlines import ComparedOutlines
from lib.reading.conclusions import Conclusions
from lib.reading.preference_view import PreferenceView
from lib.reading.reviewer_view import ReviewerView
from lib.reading.stored_readings import StudyLabels
from lib.reading.views import FINAL, ReaderView, StrangerView, View
from lib.server.access.blinding import refusal_in_study
from lib.server.access.route_table import RouteSpec


@dataclass(frozen=True)
class StudyViews:
    """Views of the users while a server serves a study.

    Attributes:
        study: Labels of the study.
        conclusions: What the readings of each case lead to; None in a preference study.
        compared: What a preference study compares; None in a study in which readers label.
        catalog: The series of the server.
        clock: Returns the time in seconds since 1970.
    """

    study: StudyLabels
    conclusions: Conclusions | None
    catalog: SeriesCatalog
    compared: ComparedOutlines | None = None
    clock: Callable[[], float] = time.time

    def of(self, identity: Identity | None) -> View:
        """Return the view of a user; of nobody, that of somebody who has no part in the study."""
        rules = self.study.plan.study
        if identity is not None and identity.name in rules.readers:
            if self.compared is not None:
                return PreferenceView(self.compared, identity.name)
            return ReaderView(self.study, identity.name, self.clock())
        if identity is not None and identity.name in rules.reviewers and self.conclusions is not None:
            return ReviewerView(self.study, self.conclusions)
        if identity is not None and identity.role >= Role.REVIEWER:
            return View(self.study.labels)
        return StrangerView(self.study)

    def refusal(
        self, identity: Identity | None, route: RouteSpec, scope: Mapping[str, Any]
    ) -> tuple[HTTPStatus, str] | None:
        """Return status and message of the refusal of a request of a user; None if it is served."""
        return refusal_in_study(self.of(identity), route, scope, self.catalog.studies_of_images())


def progress_of(view: View, datastore: SeriesDatastore) -> dict[str, Any]:
    """Return the status of the datastore for a user of a reader study: the own images and labels only.

    Args:
        view: What the user may see.
        datastore: Images and labels.
    """
    images = view.images(datastore.list_images())
    labelled = [image for image in images if view.is_done(image)]
    return {
        "total": len(images),
        "completed": len(labelled),
        "label_tags": {FINAL: len(labelled)} if labelled else {},
    }


def drafted_images(view: View, username: str, datastore: SeriesDatastore) -> set[str]:
    """Return the images of which a draft is offered to a user."""
    owners = {image: view.draft_owner(username, image) for image in datastore.list_images()}
    kept = {owner: datastore.drafts.images(owner) for owner in {*owners.values()} if owner is not None}
    return {image for image, owner in owners.items() if owner is not None and image in kept[owner]}


def restricted_view(request: Request) -> View | None:
    """Return the view of the user who sent a request if a reader study restricts it; None for everything."""
    view: View | None = getattr(request.state, "view", None)
    return view if view is not None and view.restricted else None


def current_view(request: Request, labels: LabelStore) -> View:
    """Return the view of the user who sent a request; of everything without a study.

    Args:
        request: The request.
        labels: All labels.
    """
    return restricted_view(request) or View(labels)
