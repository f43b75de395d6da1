"""Cost of an inference by step, compared with the peak performance of this machine."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from monai.networks.utils import eval_mode
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lib.geometry.connected_components import connected_components
from lib.geometry.voxel_grid import VoxelGrid
from lib.inference import ModelDescription, Predictor
from lib.infers import LungTumorInferTask
from lib.losses import HybridLoss
from lib.networks import AttentionResidualUNet
from lib.phantoms import Acquisition, chest_volume, draw_lesions, write_volume
from lib.publishing import ModelStore
from lib.publishing.serving_weights import ServingWeights
from lib.transforms import DenseCRFd

SLICES = 300
_CHEST = Acquisition(shape=(SLICES, 512, 512), spacing=(0.625, 0.7, 0.7))  # mostly lung from end to end
_CRF_SLICES = 5  # slices timed for the extrapolation to the whole scan
_MATRIX = {"cpu": 2048, "cuda": 8192}


@dataclass(frozen=True)
class InferenceCost:
    """Durations of the steps of an inference in seconds, and the performance of the network.

    Attributes:
        reading: Reading the volume into memory.
        preprocessing: All other transforms before the network.
        network: Forward passes.
        feeding: Copying slices to the device and logits back.
        postprocessing: Inverse transforms, component filter, threshold.
        crf: CRF in a box around each finding.
        writing: Writing the mask in the format that OHIF requests.
        total: The whole inference, including overhead between the steps.
        seen_slices: Number of slices processed by the network; windows of mirrored views count by their area.
        findings: Number of findings in the mask.
        network_flops: Floating-point operations per second of the forward passes (a multiply-add counts as two).
        peak_flops: Operations per second of a single-precision matrix product, measured right before and after.
    """

    reading: float
    preprocessing: float
    network: float
    feeding: float
    postprocessing: float
    crf: float
    writing: float
    total: float
    seen_slices: float
    findings: int
    network_flops: float
    peak_flops: float


def write_phantom(path: Path) -> Path:
    """Write a chest phantom with six lesions, 512×512×300 voxels of 0.7×0.7×0.625 mm."""
    hu, _, affine = chest_volume(1, lesions=draw_lesions(1, 6), acquisition=_CHEST)
    return write_volume(path, hu, affine)


def write_repeated(volume: Path, path: Path, slices: int = SLICES) -> Path:
    """Write a volume in the server's format, repeated along the slice axis up to ``slices``."""
    image = sitk.ReadImage(str(volume))
    voxels = sitk.GetArrayViewFromImage(image)
    repeated = VoxelGrid.from_image(image).image(np.resize(voxels, (slices, *voxels.shape[1:])))
    sitk.WriteImage(repeated, str(path), useCompression=False)
    return path


def inference_cost(volume: Path, info: dict[str, Any], store: ModelStore, rounds: int = 3) -> InferenceCost:
    """Time the server's infer task with CRF; return the fastest of several rounds after a warm-up round.

    Args:
        volume: NRRD file.
        info: ``info.yaml``.
        store: Store of the model versions.
        rounds: Number of timed rounds.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    passes: list[tuple[float, float]] = []
    model, pixels = ModelDescription.from_info(info), math.prod(info["preprocessing"]["size"])
    timed = dataclasses.replace(model, network=lambda: _timed(model.network(), device, passes, pixels))
    task = LungTumorInferTask(Predictor(timed, ServingWeights(store)), info)
    request = {"image": str(volume), "device": device.type, "crf": True, "result_extension": ".nrrd"}
    flops = _flops_of_a_slice(model.network(), info)
    best = None
    for _ in range(rounds + 1):
        passes.clear()
        before = peak_flops(device)
        file, result = task({**request, "result_compress": False, "logging": "WARNING"})
        peak = max(before, peak_flops(device))
        spent, slices, seconds = result["latencies"], sum(n for n, _ in passes), sum(taken for _, taken in passes)
        reading, crf = spent["transform"]["pre"]["LoadImaged"], spent["transform"]["post"]["DenseCRFd"]
        cost = InferenceCost(
            reading=reading,
            preprocessing=spent["pre"] - reading,
            network=seconds,
            feeding=spent["infer"] - seconds,
            postprocessing=spent["post"] - crf,
            crf=crf,
            writing=spent["write"],
            total=spent["total"],
            seen_slices=slices,
            findings=connected_components(sitk.GetArrayFromImage(sitk.ReadImage(file)) > 0)[1],
            network_flops=flops * slices / seconds,
            peak_flops=peak,
        )
        Path(file).unlink()
        best = cost if best is None or cost.total < best.total else best
    return best


def crf_slice_by_slice_seconds(volume: Path, info: dict[str, Any]) -> float:
    """Return the seconds that the CRF would take slice by slice over a volume, extrapolated from a few slices."""
    image = sitk.ReadImage(str(volume))
    hu = sitk.GetArrayViewFromImage(image)
    rule = info["config"]["infer"]
    crf = DenseCRFd(
        keys="pred",
        image_key="image",
        threshold=rule["threshold"],
        **{name: rule[f"crf_{name}"] for name in DenseCRFd.OPTIONS},
    )
    spacing = np.array(image.GetSpacing())
    chosen = np.linspace(0, len(hu) - 1, _CRF_SLICES + 2).astype(int)[1:-1]
    seconds = 0.0
    for index in chosen:
        slice_ = np.ascontiguousarray(hu[index].T[..., None], dtype=np.float32)
        probability = np.where(slice_ > 0, 0.9, 0.1).astype(np.float32)  # the values do not affect the cost
        start = time.perf_counter()
        crf.marginal(probability, slice_, spacing)
        seconds += time.perf_counter() - start
    return seconds / len(chosen) * len(hu)


def peak_flops(device: torch.device) -> float:
    """Return operations per second of a large single-precision matrix product, the best of five."""
    side = _MATRIX[device.type]
    matrix = torch.rand(side, side, device=device)
    # Convolutions on a GPU may use TF32 by default, so the matrix product must, too.
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if torch.backends.cudnn.allow_tf32 else "highest")
    try:
        seconds = min(_seconds(lambda: matrix @ matrix, device) for _ in range(5))
    finally:
        torch.set_float32_matmul_precision(before)
    return 2 * side**3 / seconds


def training_slices_per_second(info: dict[str, Any], device: torch.device, batch_size: int = 8) -> float:
    """Return slices per second of training (forward, loss, backward, optimiser), the best of three steps."""
    network = AttentionResidualUNet(**info["network"]).to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(network.parameters())
    rule = info["config"]["train"]
    loss_function = HybridLoss(rule["loss_lambda"], rule["focal_gamma"], rule["focal_alpha"])
    size = info["preprocessing"]["size"]
    image = torch.rand(batch_size, info["network"]["in_channels"], *size, device=device)
    image = image.to(memory_format=torch.channels_last)
    label = (torch.rand(batch_size, 1, *size, device=device) > 0.99).float()

    def step() -> None:
        optimizer.zero_grad()
        loss_function(network(image), label).backward()
        optimizer.step()

    step()  # warm-up
    return batch_size / min(_seconds(step, device) for _ in range(3))


def _timed(network: nn.Module, device: torch.device, passes: list[tuple[float, float]], slice_pixels: int) -> nn.Module:
    """Record slices and seconds of each forward pass of a network and its copies in ``passes``."""
    synchronize = torch.get_device_module(device).synchronize
    started = [0.0]

    def before(*_: object) -> None:
        synchronize()
        started[0] = time.perf_counter()

    def after(_: nn.Module, inputs: tuple[torch.Tensor], __: object) -> None:
        synchronize()
        passes.append((inputs[0][:, 0].numel() / slice_pixels, time.perf_counter() - started[0]))

    network.register_forward_pre_hook(before)
    network.register_forward_hook(after)
    return network


def _flops_of_a_slice(network: nn.Module, info: dict[str, Any]) -> int:
    image = torch.zeros(1, info["network"]["in_channels"], *info["preprocessing"]["size"])
    with eval_mode(network), FlopCounterMode(display=False) as counter:
        network(image)
    return counter.get_total_flops()


def _seconds(action: Callable[[], object], device: torch.device) -> float:
    synchronize = torch.get_device_module(device).synchronize
    synchronize()
    start = time.perf_counter()
    action()
    synchronize()
    return time.perf_counter() - start
