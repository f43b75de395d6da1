"""The infer task of the server, which returns a mask or an attention map as a file on the grid of the image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, SqueezeDimd
from monailabel.interfaces.tasks.infer_v2 import InferType
from monailabel.tasks.infer.basic_infer import BasicInferTask

from lib.errors import UserError
from lib.geometry.voxel_grid import VoxelGrid
from lib.inference import Predictor
from lib.inference.findings import Finding, findings_to_json
from lib.inference.slice_inference import BeforePass, no_wait
from lib.infers.result_file import check_extension, write_result
from lib.settings import InferenceOptions, check_request

ATTENTION = "attention_map"
PROBABILITY = "probability_map"
_NO_LUNGS = "No lungs were found: is this a chest CT in HU? Do not trust what the model marked."


class LungTumorInferTask(BasicInferTask):
    """MONAI Label's infer task over a `Predictor`.

    Args:
        predictor: The model with the weights in use.
        info: ``info.yaml``.
        results: Folder for result files until they are sent; None for the system's temporary folder.
        before_pass: Called before each forward pass; may block while other requests are more urgent.
    """

    def __init__(
        self,
        predictor: Predictor,
        info: dict[str, Any],
        results: Path | None = None,
        before_pass: BeforePass = no_wait,
    ) -> None:
        super().__init__(
            path=None,
            network=None,
            type=InferType.SEGMENTATION,
            labels=info["labels"],
            dimension=info["dimension"],
            description=info["description"],
            config=predictor.model.options.model_dump(),
        )
        self._predictor = predictor
        self._info = info
        self._results = results
        self._before_pass = before_pass

    def is_valid(self) -> bool:
        """Return True even without weights: the model is listed, and a request for a mask reports the problem."""
        return True

    def get_path(self, validate: bool = True) -> str | None:
        """Return the weights file of the version in use."""
        path = self._predictor.weights.current().path
        return str(path) if path else None

    def __call__(self, request: dict[str, Any], callbacks: dict | None = None) -> tuple[str | None, dict]:
        """Segment ``request["image"]``, a path; see ``BasicInferTask``.

        Raises:
            UserError: There are no weights, their output is not finite, or a value of the request is invalid.
        """
        if self.get_path() is None:
            self._predictor.load()  # raises a UserError with the reason
        check_request(self._info, "infer", request)
        check_parameters(request, self._config["device"])
        return super().__call__(request, callbacks)

    def pre_transforms(self, data: dict[str, Any]) -> Sequence[Callable]:
        """Return the predictor's transforms, and store them in ``data``: inversion requires the same instances."""
        data["_pre_transforms"] = self._predictor.image_transforms(_options(data))
        return data["_pre_transforms"]

    def run_inferer(self, data: dict[str, Any], convert_to_batch: bool = True, device: str = "cuda") -> dict[str, Any]:
        """Run the network on the slices with lung, and record the model version."""
        output = self._predictor.run(data, _options(data), device=device, before_pass=self._before_pass)
        data["model_version"] = output.weights.version
        data["_judge"] = output.judge  # of the same version, even if another one is put into use meanwhile
        data[self.output_label_key] = output.logits
        if output.attention is not None:
            data[ATTENTION] = MetaTensor(output.attention)
            data[PROBABILITY] = MetaTensor(output.logits.sigmoid())
        return data

    def post_transforms(self, data: dict[str, Any]) -> Sequence[Callable]:
        """Return the transforms to a mask on the grid of the loaded volume, with CRF if enabled."""
        transforms = self._predictor.mask_transforms(_options(data), data["_judge"])
        if data["attention"]:
            forward = Compose(data["_pre_transforms"])
            maps = (ATTENTION, PROBABILITY)
            transforms.append(Invertd(maps, forward, orig_keys=self.input_key, nearest_interp=False))
            transforms.append(SqueezeDimd(maps, dim=0))
        return transforms

    def writer(self, data: dict[str, Any], extension: str | None = None, dtype: object = None) -> tuple[str, dict]:
        """Write the mask, or the attention map if requested, and return its path and the parameters of the answer.

        The geometry is copied from the image file, not computed from the transforms.

        Args:
            data: Output of the transforms.
            extension: Not used; the request has ``result_extension``.
            dtype: Not used.
        """
        mask = np.asarray(data[self.output_label_key], np.uint8)
        result = np.asarray(data[ATTENTION], np.float32) if data["attention"] else mask
        image = VoxelGrid.from_file(Path(data["image_path"])).image(result.transpose())
        file = write_result(image, data, self._results)
        return str(file), {
            "voxels": int(mask.sum()),
            "model_version": data["model_version"],
            "findings": findings_to_json(Finding(*found) for found in data["findings"]),
            "warnings": [] if data["lungs_found"] else [_NO_LUNGS],
        }


def _options(data: dict[str, Any]) -> InferenceOptions:
    """Return the inference options of a validated request."""
    return InferenceOptions.model_construct(**{name: data[name] for name in InferenceOptions.model_fields})


def check_parameters(request: Mapping[str, Any], devices: Sequence[str]) -> None:
    """Check the parameters of a request that are MONAI Label's rather than settings of this app.

    Args:
        request: The request.
        devices: Names of the devices of this machine.

    Raises:
        UserError: The device or the format of the file is unknown.
    """
    device = request.get("device")
    if device is not None and device not in ("cpu", "cuda", *devices):
        raise UserError(f"device must be one of {', '.join(devices)}, not {device!r}.")
    check_extension(request)
