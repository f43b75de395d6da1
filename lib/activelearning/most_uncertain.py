"""The strategy that offers the image about which the model is least certain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.strategy import Strategy

from lib.activelearning.random_image import Random


class MostUncertain(Strategy):
    """Offers the unlabelled image with the highest score.

    An image without a score is not offered until it has one: scores are made within minutes, and a guessed score
    would put it before images that are known to be uncertain. While no image has a score, any one is offered.

    Args:
        description: What the score measures.
        scores: Of as many images as have one, by id.
        otherwise: Chooses while there is no score at all.
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
