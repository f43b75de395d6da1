"""What is offered once every image is labelled: the labels most likely to be wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.strategy import Strategy


class Review(Strategy):
    """Offers labelled images, first those whose label the model that serves disagrees with most.

    One after the other: none comes again before all the others came, be its label changed or not. An image whose
    label was not compared yet comes after those that were.

    Args:
        disagreements: One minus the Dice of the model's mask and the label, by image.
    """

    def __init__(self, disagreements: Callable[[], Mapping[str, float]]) -> None:
        super().__init__("Labels to look at again, the most doubtful first")
        self._disagreements = disagreements
        self._offered: dict[str, int] = {}

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        """Choose an image, with ``review`` and, where it is known, its ``disagreement``; None if none is labelled."""
        images = datastore.get_labeled_images(request.get("label_tag"), request.get("labels"))
        if not images:
            return None
        doubts = self._disagreements()
        image = min(images, key=lambda image: (self._offered.get(image, 0), -doubts.get(image, -1.0), image))
        self._offered[image] = self._offered.get(image, 0) + 1
        known = {"disagreement": round(doubts[image], 4)} if image in doubts else {}
        return {"id": image, "review": True, **known}
