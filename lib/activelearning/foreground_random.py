"""The strategy ``foreground_random``."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.strategy import Strategy

_SHARE_MARKED = 2 / 3


class ForegroundRandom(Strategy):
    """Offers a random unlabelled image, in two of three cases one in which the model marks something.

    Two thirds are the share of foreground in the strongest random baseline of the benchmark nnActive.

    Args:
        marked: Returns the measure ``marked`` by image id; 1 where the model marks at least a small lesion.
        seed: Random seed.
    """

    def __init__(self, marked: Callable[[], Mapping[str, float]], seed: int | None = None) -> None:
        super().__init__("A scan at random, more often one in which the model marks something")
        self._marked = marked
        self._random = random.Random(seed)

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        """Return the chosen image; None if all are labelled."""
        images = datastore.get_unlabeled_images(request.get("label_tag"), request.get("labels"))
        if not images:
            return None
        if self._random.random() < _SHARE_MARKED:
            marked = self._marked()
            images = [image for image in images if marked.get(image, 0) >= 1] or images
        return {"id": self._random.choice(images)}
