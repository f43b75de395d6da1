"""What the model for whole scans says about a cube around a lesion."""

from __future__ import annotations

import logging
import math

import numpy as np
import torch
from monai.data import MetaTensor
from scipy.special import expit, logit

from lib.clicks.channels import normalised
from lib.clicks.components import touching
from lib.clicks.cube import Cube, sample
from lib.clicks.open_images import OpenImage
from lib.clicks.surroundings import FAINT, KeptSurroundings, Surroundings
from lib.errors import UserError
from lib.inference import Predictor, WeightsId
from lib.inference.bfloat16 import has_bfloat16
from lib.inference.finite import NotFiniteError
from lib.inference.gpu_memory import GpuMemoryError

logger = logging.getLogger(__name__)

_MARGIN_MM = 10.0  # seen around what is asked for; as far as the adjacent slices of the network reach
_LEAST_HALF_MM = 24.0  # around a point: enough for the cubes and further clicks of most lesions
_MULTIPLE = 16  # of pixels along each axis, which the network halves four times
_AT_ONCE = 16  # slices; a CPU has the pixels of a whole slice then
_LEAST_PROBABILITY = 0.02  # a model that is sure must not outvote the other


class AutomaticModel:
    """The model for whole scans, run on the surroundings of a cube at the scale that it was trained at. Thread-safe.

    Its last answers are kept, because the further cubes and clicks of a lesion lie in the surroundings of the first.

    Args:
        predictor: The model with its weights.
    """

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._kept = KeptSurroundings()

    @property
    def threshold(self) -> float:
        """Lowest probability of a tumour voxel."""
        return self._predictor.model.options.threshold

    def weights(self) -> WeightsId | None:
        """Load the current weights, and return their identity; None if there are none that can be used."""
        try:
            return self._predictor.load().weights
        except UserError:
            return None

    def surroundings(self, image: OpenImage, cube: Cube) -> Surroundings | None:
        """Return what the model says about the surroundings of a cube.

        None if the model cannot be used: it has no weights, its output is not finite, or it normalises by the scan.

        Raises:
            GpuMemoryError: The GPU has too little memory.
        """
        if self._predictor.model.preprocessing["normalise"] != "dataset":
            return None
        try:
            return self._kept.find(image, self._predictor.load().weights, cube) or self._look(image, cube)
        except GpuMemoryError:  # passes, unlike the other reasons: the same click must not have two answers
            raise
        except (UserError, NotFiniteError) as error:
            logger.warning("Outlines from clicks do without the model for whole scans: %s", error)
            return None

    def _look(self, image: OpenImage, cube: Cube) -> Surroundings:
        """Run the model on the surroundings of a cube."""
        rule = self._predictor.model.preprocessing
        pixel_mm = rule["field_mm"] / rule["size"][0]
        half_mm = max(cube.half_mm, _LEAST_HALF_MM)
        side = math.ceil(2 * (half_mm + _MARGIN_MM) / pixel_mm / _MULTIPLE) * _MULTIPLE
        wide = Cube(cube.centre, pixel_mm, side)
        hu = sample(image.hu, image.grid, wide, outside=rule["hu_window"][0])
        planes = min(math.ceil(half_mm / pixel_mm) + 1, side // 2)  # on either side of the middle
        data = {
            "image": MetaTensor(normalised(hu, rule)[None], affine=torch.eye(4) * pixel_mm),
            "lung_slices": (side // 2 - planes, side // 2 + planes),
        }
        changes = {"views": 1, "attention": False, "batch_size": _AT_ONCE}
        device = next(self._predictor.load().network.parameters()).device
        with torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device)):
            output = self._predictor.run(data, self._predictor.model.options.model_copy(update=changes))
        probability = output.logits[0].float().sigmoid().numpy()
        seen = Surroundings(image.source, output.weights, wide, half_mm, probability)
        self._kept.add(seen)
        return seen


def combined(
    clicked: np.ndarray, automatic: np.ndarray, threshold: float, seeds: np.ndarray, reach: float, share: float
) -> np.ndarray:
    """Return the weighted mean, in logits, of two probability maps of a cube.

    Of the model for whole scans, only the lesion at the points counts: other lesions are not meant, and a model that
    sees nothing there says nothing about the outline.

    Args:
        clicked: Probability by the model for clicks, shape (side, side, side).
        automatic: Probability by the model for whole scans, same shape.
        threshold: Lowest probability of a tumour voxel of the model for whole scans.
        seeds: Voxel indices of the points on the lesion, shape (n, 3).
        reach: Distance in voxels from a point within which the lesion must begin.
        share: Weight of the model for whole scans.
    """
    seen = automatic >= FAINT
    lesion = touching(seen, seeds, reach)
    if not lesion.any():
        return clicked
    alone = np.where(lesion | ~seen, automatic, 0)
    mean = (1 - share) * _limited_logit(clicked) + share * (_limited_logit(alone) - logit(threshold))
    return expit(mean).astype(np.float32)


def _limited_logit(probability: np.ndarray) -> np.ndarray:
    return logit(probability.clip(_LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY))
