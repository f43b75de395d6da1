"""The infer task of the server that outlines the lesion a user points at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from lib.clicks.open_images import OpenImages
from lib.clicks.predictor import ClickPredictor
from lib.clicks.prompts import Prompts
from lib.errors import UserError
from lib.infers.result_file import check_extension, write_result

_NOTHING = "Nothing was found at these points."


class LungTumorClickInferTask(InferTask):
    """MONAI Label's infer task over a `ClickPredictor`.

    Args:
        predictor: The model with the weights in use.
        info: ``info.yaml``.
        results: Folder for result files until they are sent; None for the system's temporary folder.
    """

    def __init__(self, predictor: ClickPredictor, info: dict[str, Any], results: Path | None = None) -> None:
        super().__init__(
            type=InferType.DEEPGROW,
            labels=info["labels"],
            dimension=3,
            description="Outlines the lesion at the points that a user sets on it and beside it",
        )
        self._predictor = predictor
        self._results = results
        self._images = OpenImages()

    def is_valid(self) -> bool:
        """Return True even without weights: the model is listed, and a request for a mask reports the problem."""
        return True

    def get_path(self, validate: bool = True) -> str | None:
        """Return the weights file of the version in use."""
        path = self._predictor.weights.current().path
        return str(path) if path else None

    def prepare(self, path: Path) -> None:
        """Open an image, and load the weights in use unless they are loaded.

        Raises:
            UserError: There are no weights.
        """
        self._predictor.prepare(self._images.open(path))

    def __call__(self, request: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
        """Outline the lesion at ``foreground``, ``background``, ``scribble``, ``box`` and ``former`` of a request.

        Args:
            request: ``image``, a path, and the parameters of `Prompts.from_request`. With ``region``, the answer has
                no file, but the lesion as ``region``, see :mod:`lib.clicks.region`.

        Returns:
            File with the mask of this one lesion on the grid of the image; and ``voxels``, ``model_version``,
            ``findings`` (none) and ``warnings``.

        Raises:
            UserError: A parameter is invalid, or there are no weights.
        """
        check_extension(request)
        only_region = request.get("region", False)
        if not isinstance(only_region, bool):
            raise UserError(f"region must be true or false, not {only_region!r}.")
        image = self._images.open(Path(request["image"]))
        outline = self._predictor.outline(image, Prompts.from_request(request, image.grid))
        voxels = int(outline.region.mask.sum())
        answer = {
            "voxels": voxels,
            "model_version": outline.weights.version,
            "findings": [],  # a lesion that a person points at is not judged
            "warnings": [] if voxels else [_NOTHING],
        }
        if only_region:
            return None, {**answer, "region": outline.region.to_json()}
        mask = np.zeros(image.grid.shape, np.uint8)
        mask[outline.region.window] = outline.region.mask
        return str(write_result(image.grid.image(mask), request, self._results)), answer
