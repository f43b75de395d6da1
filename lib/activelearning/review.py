"""The strategy for reviewing labels, used once every image is labelled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.strategy import Strategy


class Review(Strategy):
    """Offers labelled images in descending order of disagreement between the label and the mask of the model in use.

    No image is offered again before all others were, whether its label was changed or not. Images without a known
    disagreement come last.

    Args:
        disagreements: Returns one minus the Dice coefficient of model mask and label, by image.
    """

    def __init__(self, disagreements: Callable[[], Mapping[str, float]]) -> None:
        super().__init__("Labels to review, those that the model disagrees with most first")
        self._disagreements = disagreements
        self._offered: dict[str, int] = {}

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        """Return an image with ``review`` and, where known, its ``disagreement``; None if none is labelled."""
        images = datastore.get_labeled_images(request.get("label_tag"), request.get("labels"))
        if not images:
            return None
        disagreements = self._disagreements()
        image = min(images, key=lambda image: (self._offered.get(image, 0), -disagreements.get(image, -1.0), image))
        self._offered[image] = self._offered.get(image, 0) + 1
        known = {"disagreement": round(disagreements[image], 4)} if image in disagreements else {}
        return {"id": image, "review": True, **known}
