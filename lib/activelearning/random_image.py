"""The strategy ``random``."""

from __future__ import annotations

import random
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.strategy import Strategy


class Random(Strategy):
    """Offers a random unlabelled image, all with equal probability.

    MONAI Label's own strategy weights images by the seconds since they were offered, and fails if all weights are 0.

    Args:
        seed: Random seed.
    """

    def __init__(self, seed: int | None = None) -> None:
        super().__init__("One of the scans without a label, at random")
        self._random = random.Random(seed)

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        """Return the chosen image; None if all are labelled."""
        images = datastore.get_unlabeled_images(request.get("label_tag"), request.get("labels"))
        return {"id": self._random.choice(images)} if images else None
