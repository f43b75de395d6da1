"""Inference: volume → shared pre-processing → network slice by slice → mask on the volume's own grid."""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, SqueezeDimd
from monailabel.interfaces.tasks.infer_v2 import InferType
from monailabel.tasks.infer.basic_infer import BasicInferTask
from torch import nn

from lib.datastore.volume import write_mask
from lib.errors import UserError
from lib.geometry.voxel_grid import VoxelGrid
from lib.networks.slice_inference import infer_slices
from lib.networks.weights import check_finite
from lib.publishing import ModelStore, Serving
from lib.settings import check_request
from lib.transforms import image_transforms, mask_transforms
from lib.transforms.adjacent_slices import in_slices
from lib.transforms.voxel_order import contiguous

ATTENTION = "attention_map"
_EXTENSIONS = (".nrrd", ".nii.gz", ".nii")
_NO_LUNGS = "No lungs were found: is this a chest CT in HU? What the model marked is not to be trusted."


class LungTumorInferTask(BasicInferTask):
    """Segments lung tumours on a chest CT.

    Args:
        network: The untrained network; weights are loaded from ``store`` and again whenever another version serves.
        info: ``info.yaml``.
        store: Which weights serve.
        results: Folder for the files of results until they are sent; the system's one for temporary files if None.
    """

    def __init__(
        self, network: nn.Module, info: dict[str, Any], store: ModelStore, results: Path | None = None
    ) -> None:
        super().__init__(
            path=None,
            network=network,
            type=InferType.SEGMENTATION,
            labels=info["labels"],
            dimension=info["dimension"],
            description=info["description"],
            config=dict(info["config"]["infer"]),
        )
        self._info = info
        self._store = store
        self._results = results

    def get_path(self, validate: bool = True) -> str | None:
        """Weights file of the version that serves."""
        path = self._store.serving_weights()
        return str(path) if path else None

    def __call__(self, request: dict[str, Any], callbacks: dict | None = None) -> tuple[str | None, dict]:
        """Segment ``request["image"]``, a path; see ``BasicInferTask``.

        Raises:
            UserError: There are no weights, they give no numbers, or a value of the request makes no sense.
        """
        if self.get_path() is None:
            self._store.read_serving()  # says why
        check_request(self._info, "infer", request)
        _check(request, self._config["device"])
        return super().__call__(request, callbacks)

    def pre_transforms(self, data: dict[str, Any]) -> Sequence[Callable]:
        """The transforms shared with training; kept in ``data``, because the way back needs these very ones."""
        data["_pre_transforms"] = image_transforms(self._info["preprocessing"], keep_hu=data["crf"], neighbours=False)
        return data["_pre_transforms"]

    def run_inferer(self, data: dict[str, Any], convert_to_batch: bool = True, device: str = "cuda") -> dict[str, Any]:
        """Run the network on the slices that show lung."""
        image = data[self.input_key]
        network = self._get_network(device, data)
        logits, weights = infer_slices(
            network,
            image.as_tensor(),
            data["lung_slices"],
            int(data["batch_size"]),
            offsets=in_slices(self._info["preprocessing"]["slice_offsets_mm"], image),
            views=int(data["views"]),
            attention=data["attention"],
        )
        check_finite(logits, f"version {data['model_version']} of the model")
        data[self.output_label_key] = logits
        data[self.input_key] = _without_voxels(image)
        if weights is not None:
            data[ATTENTION] = MetaTensor(weights)
        return data

    def post_transforms(self, data: dict[str, Any] | None = None) -> Sequence[Callable]:
        """Back to the grid of the loaded volume, CRF where it is on, threshold."""
        transforms = mask_transforms(data)
        if data["attention"]:
            forward = Compose(data["_pre_transforms"])
            transforms.append(Invertd(ATTENTION, forward, orig_keys=self.input_key, nearest_interp=False))
            transforms.append(SqueezeDimd(ATTENTION, dim=0))
        return transforms

    def writer(self, data: dict[str, Any], extension: str | None = None, dtype: object = None) -> tuple[str, dict]:
        """Write the mask, or the attention map where it was asked for.

        Its geometry is read from the image file, not computed from the transforms.
        """
        extension = data.get("result_extension") or ".nii.gz"
        mask = np.asarray(data[self.output_label_key], np.uint8)
        result = np.asarray(data[ATTENTION], np.float32) if data["attention"] else mask
        image = VoxelGrid.from_file(Path(data["image_path"])).image(contiguous(result.transpose()))
        file = self._result_file(extension)
        try:
            write_mask(image, file, bool(data.get("result_compress", extension == ".nii.gz")))
        except BaseException:
            file.unlink()
            raise
        warnings = [] if data["lungs_found"] else [_NO_LUNGS]
        return str(file), {"voxels": int(mask.sum()), "model_version": data["model_version"], "warnings": warnings}

    def _result_file(self, extension: str) -> Path:
        if self._results:
            self._results.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(suffix=extension, dir=self._results)
        os.close(handle)
        return Path(name)

    def _get_network(self, device: str, data: dict[str, Any] | None) -> nn.Module:
        """The network with the weights that serve, which ``data`` notes: others may serve before its run ends.

        They are loaded by the store, which compares their hash, and not by MONAI Label, which would open the file.
        """
        serving = self._store.serving()
        network, loaded, version = self._networks.get(device, (None, None, None))
        if network is None or loaded != _state_of(serving):
            network = copy.deepcopy(self.network)
            serving = self._store.load_serving(network)
            version = serving.version
            # Convolutions on CPU are faster on this layout; on a GPU it does no harm.
            network.eval().to(torch.device(device), memory_format=torch.channels_last)
            self._networks.clear()
            self._networks[device] = (network, _state_of(serving), version)
        if data is not None:
            data["model_version"] = version
        return network


def _state_of(serving: Serving) -> tuple[str | None, int]:
    """Changes with the version in use, and when the shipped weights are replaced under their name."""
    return serving.version, serving.path.stat().st_mtime_ns if serving.path else 0


def _without_voxels(image: MetaTensor) -> MetaTensor:
    """The geometry of an image, and the trace of its transforms; its voxels are let go."""
    empty = torch.zeros(1, dtype=image.dtype).expand(image.shape)
    return MetaTensor(empty, meta=dict(image.meta), applied_operations=image.applied_operations)


def _check(request: dict[str, Any], devices: Sequence[str]) -> None:
    """Refuse values that are no settings of ours but MONAI Label's."""
    device = request.get("device")
    if device is not None and device not in ("cpu", "cuda", *devices):
        raise UserError(f"device is one of {', '.join(devices)}, not {device!r}.")
    extension = request.get("result_extension")
    if extension and extension not in _EXTENSIONS:
        raise UserError(f"result_extension is one of {', '.join(_EXTENSIONS)}, not {extension!r}.")
