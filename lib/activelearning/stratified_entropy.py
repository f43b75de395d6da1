"""The strategy ``stratified_entropy``."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.strategy import Strategy

STRATA = ("tumour_entropy", "background_entropy", "entropy")

_LEAST_POWER, _GREATEST_POWER = 1.0, 100.0


class StratifiedEntropy(Strategy):
    """Offers an image with much entropy: in turn where the model marks tumour, where it does not, and anywhere.

    So that the first choices are not all alike, an image is drawn with a probability proportional to a power of its
    entropy. The power grows, on a logarithmic scale, from 1 to 100, which nearly always is the highest entropy.

    After ClaSP PE (Lüth et al. 2026, arXiv:2601.13677), which queries patches of scans; here whole images are queried.

    Args:
        scores: Returns the known scores by image id for each of ``STRATA``.
        decay: Numbers of labelled images at which the power begins to grow, and has grown.
        seed: Random seed.
    """

    def __init__(
        self, scores: Callable[[str], Mapping[str, float]], decay: tuple[int, int], seed: int | None = None
    ) -> None:
        super().__init__("A scan with high entropy in what the model marks, or beside it; first with much chance")
        self._scores = scores
        self._decay = decay
        self._random = random.Random(seed)
        self._strata = itertools.cycle(STRATA)

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        """Return the chosen image; None if all are labelled."""
        images = datastore.get_unlabeled_images(request.get("label_tag"), request.get("labels"))
        if not images:
            return None
        scores = self._scores(next(self._strata))
        highest = max(scores.get(image, 0) for image in images)
        if not highest:
            return {"id": self._random.choice(images)}
        power = self._power(len(datastore.get_labeled_images(request.get("label_tag"), request.get("labels"))))
        weights = [(scores.get(image, 0) / highest) ** power for image in images]
        return {"id": self._random.choices(images, weights)[0]}

    def _power(self, labelled: int) -> float:
        first, last = self._decay
        share = min(max((labelled - first) / max(last - first, 1), 0), 1)
        return _LEAST_POWER * (_GREATEST_POWER / _LEAST_POWER) ** share
