"""The choice of the next image for a user.

Labels that were sent back to the user come first, and for reviewers those that wait for review; then images without a
label, then those skipped for later, then labels to look at again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from monailabel.interfaces.tasks.strategy import Strategy

from lib.activelearning import review_queue
from lib.activelearning.leases import Leases
from lib.activelearning.view import WithoutImages
from lib.datastore.series_datastore import SeriesDatastore
from lib.datastore.skipped_images import LATER
from lib.errors import UserError

_OHIF = "ohif"  # shows DICOM only
_Choice = Callable[[dict[str, Any], Any], dict[str, Any] | None]


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
                image that the user has open, which comes after all others of its kind; see `Asker` for the requester.
            datastore: Datastore of the images.

        Raises:
            UserError: There is no such strategy.
        """
        strategy = self._strategies.get(request.get("strategy") or "random")
        if strategy is None:
            raise UserError(f"There is no strategy {request['strategy']!r}; there is {', '.join(self._strategies)}.")
        hidden = _not_shown(request, datastore)
        opened = {str(request["open"])} if request.get("open") else set[str]()
        for queue in (review_queue.sent_back, review_queue.waiting):
            if chosen := self._chosen_by(queue, request, datastore, hidden | opened, hidden):
                return chosen
        skipped = {image: one["reason"] for image, one in datastore.skipped.all().items()}
        never = {image for image, reason in skipped.items() if reason != LATER} | hidden
        turns = never | skipped.keys() | opened, never | opened, never
        if chosen := self._chosen_by(strategy, request, datastore, *turns):
            return chosen
        if WithoutImages(datastore, never).get_unlabeled_images():
            return None
        return self._chosen_by(self._review, request, datastore, never | opened, never)

    def _chosen_by(
        self, choice: _Choice, request: dict[str, Any], datastore: SeriesDatastore, *excluded: Collection[str]
    ) -> dict[str, Any] | None:
        """Return what is chosen with the first of several sets of images left out that leaves any."""
        chosen = (self._leases.choose(choice, request, WithoutImages(datastore, images)) for images in excluded)
        return next(filter(None, chosen), None)


def _not_shown(request: Mapping[str, Any], datastore: SeriesDatastore) -> set[str]:
    """Return the images that the user's viewer cannot show."""
    if request.get("viewer") != _OHIF:
        return set()
    return {series.uid for series in datastore.catalog.all() if not series.is_dicom}
