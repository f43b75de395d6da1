"""The choice of the next image for a user.

Labels that were sent back to the user come first, and for reviewers those that wait for review; then images without a
label, then those skipped for later, then labels to look at again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monailabel.interfaces.tasks.strategy import Strategy

from lib.activelearning import review_queue
from lib.activelearning.leases import Leases
from lib.activelearning.view import WithoutImages
from lib.datastore.series_datastore import SeriesDatastore
from lib.datastore.skipped_images import LATER
from lib.errors import UserError

_OHIF = "ohif"  # shows DICOM only


class NextSample:
    """Chooses the next image.

    Args:
        strategies: For unlabelled images, by name.
        review: For labelled images, once all others are labelled.
        leases: Leases of the images.
    """

    def __init__(self, strategies: Mapping[str, Strategy], review: Strategy, leases: Leases) -> None:
        self._strategies = strategies
        self._review = review
        self._leases = leases

    def choose(self, request: dict[str, Any], datastore: SeriesDatastore) -> dict[str, Any] | None:
        """Return the chosen image, or None.

        Args:
            request: ``strategy`` is its name; ``viewer`` is "ohif" if only DICOM images can be shown; ``open`` is the
                image that the user has open, chosen only if there is no other; see `Asker` for the requester.
            datastore: Datastore of the images.

        Raises:
            UserError: There is no such strategy.
        """
        strategy = self._strategies.get(request.get("strategy") or "random")
        if strategy is None:
            raise UserError(f"There is no strategy {request['strategy']!r}; there is {', '.join(self._strategies)}.")
        for queue in (review_queue.sent_back, review_queue.waiting):
            if chosen := self._leases.choose(queue, request, WithoutImages(datastore, _not_shown(request, datastore))):
                return chosen
        skipped = {image: one["reason"] for image, one in datastore.skipped.all().items()}
        never = {image for image, reason in skipped.items() if reason != LATER} | _not_shown(request, datastore)
        opened = {str(request["open"])} if request.get("open") else set[str]()
        for excluded in (never | skipped.keys() | opened, never | opened, never):
            if chosen := self._leases.choose(strategy, request, WithoutImages(datastore, excluded)):
                return chosen
        offered = WithoutImages(datastore, never)
        return None if offered.get_unlabeled_images() else self._leases.choose(self._review, request, offered)


def _not_shown(request: Mapping[str, Any], datastore: SeriesDatastore) -> set[str]:
    """Return the images that the user's viewer cannot show."""
    if request.get("viewer") != _OHIF:
        return set()
    return {series.uid for series in datastore.catalog.all() if not series.is_dicom}
