"""What the model for whole scans said about the surroundings of lesions, kept for further clicks on them."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from lib.clicks.components import touching
from lib.clicks.cube import Cube
from lib.clicks.open_images import OpenImage
from lib.inference import WeightsId

FAINT = 0.15  # probability from which a voxel belongs to a lesion of the model for whole scans
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

    def holds_lesion(self, points: np.ndarray, reach_mm: float) -> bool:
        """Return whether the lesion at points, if the model sees one, ends within the part that is of use.

        Then a larger part of the image shows no more of it.

        Args:
            points: Positions in mm, shape (n, 3).
            reach_mm: Distance from a point within which the lesion must begin.
        """
        first = math.floor((self.cube.half_mm - self.half_mm) / self.cube.voxel_mm)
        useful = self.probability[(slice(first, self.cube.side - first),) * 3]
        lesion = touching(useful >= FAINT, self.cube.to_index(points) - first, reach_mm / self.cube.voxel_mm)
        return not any(lesion.take(end, axis).any() for axis in range(3) for end in (0, -1))

    def sample(self, cube: Cube) -> np.ndarray:
        """Return the probability in a cube, shape (side, side, side); 0 beyond the surroundings."""
        places = np.moveaxis(self.cube.to_index(cube.points()), -1, 0)
        return ndimage.map_coordinates(self.probability, places, order=1, mode="constant")


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
