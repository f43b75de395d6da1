"""The strategy ``uncertainty``: uncertainty sampling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.strategy import Strategy

from lib.activelearning.random_image import Random


class UncertaintySampling(Strategy):
    """Offers the unlabelled image with the highest uncertainty score.

    Images without a score are not offered: scores are computed within minutes, and a default score could rank them
    before images that are known to be uncertain. While no image has a score, ``otherwise`` chooses.

    Args:
        description: Description for clients.
        scores: Returns the known scores by image id.
        otherwise: Fallback strategy while there are no scores.
    """

    def __init__(
        self,
        description: str,
        scores: Callable[[], Mapping[str, float]],
        otherwise: Strategy | None = None,
    ) -> None:
        super().__init__(description)
        self._scores = scores
        self._otherwise = otherwise or Random()

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        """Return the chosen image with its ``score``; None if all are labelled."""
        images = datastore.get_unlabeled_images(request.get("label_tag"), request.get("labels"))
        scores = self._scores()
        scored = [image for image in images if image in scores]
        if not scored:
            return self._otherwise(request, datastore)
        image = max(scored, key=lambda image: (scores[image], image))
        return {"id": image, "score": round(scores[image], 4)}
