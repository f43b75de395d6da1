"""Peak memory of one inference in the real server, for scans of increasing length."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import requests

from lib.phantoms import Acquisition, chest_volume, draw_lesions, write_dicom_series
from tools.benchmark.server import StartServer, wait_for_images
from tools.support.usage import peak_resident_bytes, resident_bytes

MEGABYTE = 1_000_000
_CHEST = 100  # number of slices with lung, above the rest of the body
_SPACING = 1.25  # distance of slices, mm
_TIMEOUT = 7200


@dataclass(frozen=True)
class MemoryUse:
    """Resident memory of the server and its child processes.

    Attributes:
        slices: Number of slices of the scan.
        idle: Bytes before the inference.
        peak: Peak bytes during the inference.
        seconds: Duration of the inference, including the creation of the volume from DICOM files.
    """

    slices: int
    idle: int
    peak: int
    seconds: float

    @property
    def above_idle(self) -> int:
        """Return the bytes that the inference needed."""
        return self.peak - self.idle

    def megabytes_a_slice(self, smallest: MemoryUse) -> float:
        """Return the growth per additional slice over a smaller scan, in MB."""
        return (self.above_idle - smallest.above_idle) / (self.slices - smallest.slices) / MEGABYTE


def write_long_scan(folder: Path, slices: int, side: int = 512) -> None:
    """Write a DICOM series of a chest and the body below it, with ``slices`` slices of ``side`` × ``side`` pixels.

    The network skips the slices below the lungs, so that measuring a whole-body scan takes only minutes.
    """
    chest = min(_CHEST, slices)
    grid = Acquisition(shape=(chest, side, side), spacing=(_SPACING, 360 / side, 360 / side))
    hu, _, affine = chest_volume(1, lesions=draw_lesions(1, 6), acquisition=grid)
    body = np.where(_outline(hu[0]), 40, -1000).astype(np.int16)
    noise = np.random.default_rng(0).integers(-20, 21, body.shape, np.int16)
    volume = np.empty((slices, side, side), np.int16)
    volume[: slices - chest] = body + noise
    volume[slices - chest :] = hu
    affine = affine.copy()
    affine[:3, 3] -= (slices - chest) * affine[:3, 2]
    write_dicom_series(folder, volume, affine, patient_id=f"MEMORY-{slices}")


def measure(slices: int, scratch: Path, start: StartServer, *, side: int = 512) -> MemoryUse:
    """Measure one inference on a scan of ``slices`` slices in a newly started server.

    Args:
        slices: Number of slices of the scan.
        scratch: Folder for the scan and a workspace, which are removed again.
        start: Context manager ``start(studies, workspace)`` that runs the server.
        side: Side length of a slice, pixels.
    """
    studies, workspace = scratch / f"memory-{slices}", scratch / f"memory-{slices}-workspace"
    write_long_scan(studies, slices, side)
    try:
        with start(studies, workspace) as server:
            image = wait_for_images(server.url)[0]
            idle = resident_bytes(server.process.pid)
            began = time.perf_counter()
            with peak_resident_bytes(server.process.pid) as peak:
                reply = requests.post(
                    f"{server.url}/infer/lung_tumor",
                    params={"image": image, "output": "image"},
                    data={"params": '{"result_extension": ".nrrd"}'},  # as requested by OHIF
                    timeout=_TIMEOUT,
                )
            reply.raise_for_status()
            return MemoryUse(slices, idle, max(peak), time.perf_counter() - began)
    finally:
        shutil.rmtree(studies)
        shutil.rmtree(workspace, ignore_errors=True)


def _outline(hu: np.ndarray) -> np.ndarray:
    """Return a mask of the body in a slice, including lungs: from the first to the last dense pixel of each row."""
    dense = hu > -300
    return np.logical_or.accumulate(dense, axis=1) & np.logical_or.accumulate(dense[:, ::-1], axis=1)[:, ::-1]
