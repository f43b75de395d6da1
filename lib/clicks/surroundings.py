"""What the model for whole scans said about the surroundings of lesions, kept for further clicks on them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

from lib.clicks.cube import Cube
from lib.clicks.open_images import OpenImage
from lib.inference import WeightsId

_MOST_BYTES = 256 << 20  # about 250 lesions of up to 3 cm


@dataclass(frozen=True, eq=False)
class Surroundings:
    """What the model said about the surroundings of a cube.

    Attributes:
        source: Source of the image.
        weights: Weights of the model.
        cube: Cube of the pixels of the network.
        half_mm: Half of the side of the part of it that is of use.
        probability: Probability of tumour, shape (side, side, side), axes L, P, S.
    """

    source: object
    weights: WeightsId
    cube: Cube
    half_mm: float
    probability: np.ndarray

    def contains(self, cube: Cube) -> bool:
        """Return whether a cube lies in the part that is of use."""
        return bool((np.abs(cube.centre - self.cube.centre) + cube.half_mm <= self.half_mm).all())


class KeptSurroundings:
    """The surroundings of the lesions that were clicked last, by any user, within a limit of memory. Thread-safe.

    Args:
        most_bytes: Limit of the memory of all probabilities.
    """

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, Surroundings] = OrderedDict()  # by id, the one used last at the end

    def find(self, image: OpenImage, weights: WeightsId, cube: Cube) -> Surroundings | None:
        """Return surroundings that contain a cube of an image, by the same weights; None if there are none."""
        with self._lock:
            for one in self._kept.values():
                if one.source == image.source and one.weights == weights and one.contains(cube):
                    self._kept.move_to_end(id(one))
                    return one
        return None

    def add(self, seen: Surroundings) -> None:
        """Keep surroundings, and drop those used longest ago beyond the limit."""
        with self._lock:
            self._kept[id(seen)] = seen
            while sum(one.probability.nbytes for one in self._kept.values()) > self._most_bytes:
                self._kept.popitem(last=False)
