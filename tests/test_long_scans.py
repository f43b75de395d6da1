"""R1: a long scan is processed in blocks of slices, with the same result."""

import json
import os
import subprocess
import sys

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
import torch
from monai.data import MetaTensor
from monai.transforms import Compose

from lib.datastore.volume import read_volume, write_volume
from lib.inference.slice_inference import infer_slices
from lib.networks import AttentionResidualUNet
from lib.phantoms import Acquisition, chest_volume, write_dicom_series
from lib.settings import APP_DIR, load_info
from lib.transforms import axial_field, image_transforms, mask_transforms, stored_grid
from lib.transforms.adjacent_slices import AdjacentSlicesd, adjacent_slices, in_slices
from lib.transforms.axial_field import field_of
from tests.support.dicom_variants import sorted_slices
from tools.benchmark.memory import write_long_scan
from tools.support.usage import peak_resident_bytes

INFO = load_info()
SMALL = INFO["preprocessing"] | {"size": [64, 64]}
GRIDS = {
    "straight": Acquisition(shape=(24, 64, 72), spacing=(6.0, 5.0, 5.2)),
    "feet first": Acquisition(shape=(24, 64, 72), spacing=(6.0, 5.0, 5.2), plane="feet_first_supine"),
    "sagittal": Acquisition(shape=(64, 24, 72), spacing=(5.2, 6.0, 5.0), plane="sagittal"),
    "tilted": Acquisition(shape=(24, 64, 72), spacing=(6.0, 5.0, 5.2), gantry_tilt_degrees=12),
}
# Runs inference on a short scan and then on a long one; the peak memory of a process never decreases.
PEAKS = """
import json, resource, sys, torch
from pathlib import Path
from lib.inference import ModelDescription, Predictor
from lib.infers import LungTumorInferTask
from lib.publishing import ModelStore
from lib.publishing.serving_weights import ServingWeights
from lib.settings import load_info
info = load_info()
info["network"]["channels"] = [2, 2]
torch.manual_seed(0)
folder = Path(sys.argv[1])
(folder / "model").mkdir()
model = ModelDescription.from_info(info)
torch.save({"model": model.network().state_dict()}, folder / "model" / "pretrained_lung_tumor.pt")
task = LungTumorInferTask(Predictor(model, ServingWeights(ModelStore(folder / "model"))), info)
peaks = []
for path in sys.argv[2:]:
    request = {"device": "cpu", "result_extension": ".nrrd", "result_compress": False, "views": 1}
    file, _ = task({**request, "image": path, "logging": "WARNING"})
    Path(file).unlink()
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
print(json.dumps(peaks))
"""


def write_chest(path, slices):
    """Write a body of 128 × 128 pixels of 2.5 mm with two lungs in slices 10 to 29."""
    body = np.full((slices, 128, 128), -1000, np.int16)
    body[:, 20:108, 10:118] = 40
    body[10:30, 40:90, 25:55] = body[10:30, 40:90, 73:103] = -800
    image = sitk.GetImageFromArray(body)
    image.SetSpacing((2.5, 2.5, 1.0))
    write_volume(image, path)
    return str(path)


@pytest.mark.server
def test_r1_memory_grows_by_less_than_a_megabyte_per_slice(tmp_path):
    """R1: it was 4.3 MB. The network's field and its output are 0.26 MB each."""
    few, many = 40, 240
    paths = [write_chest(tmp_path / f"{count}.nrrd", count) for count in (few, many)]
    command = [sys.executable, "-c", PEAKS, str(tmp_path), *paths]
    environment = os.environ | {"PYTHONPATH": str(APP_DIR)}
    reply = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment, check=True)
    small, large = json.loads(reply.stdout.splitlines()[-1])
    assert (large - small) / (many - few) < 1e6


@pytest.mark.parametrize(
    ("grid", "crf"), [("straight", False), ("feet first", True), ("sagittal", True), ("tilted", True)]
)
def test_r1_block_size_does_not_change_the_mask(grid, crf, tmp_path, monkeypatch):
    """R1: also for tilted slices and for slices stored along another axis."""
    hu, _, affine = chest_volume(3, acquisition=GRIDS[grid])
    write_dicom_series(tmp_path / "series", hu, affine, patient_id="P")
    write_volume(read_volume(sorted_slices(tmp_path / "series")), tmp_path / "chest.nrrd")
    crf = grid != "straight"
    forward = Compose(image_transforms(SMALL, keep_hu=crf, neighbours=False))
    found = []
    for length in (1, 5, 1000):
        monkeypatch.setattr(axial_field, "_BLOCK", length)
        monkeypatch.setattr(stored_grid, "_BLOCK", length)
        data = forward({"image": tmp_path / "chest.nrrd"})
        data["pred"] = (data["image"].as_tensor() + 0.5) * 4
        options = INFO["config"]["infer"] | {"crf": crf, "crf_max_voxels": 5_000}
        found.append((data["image"], Compose(mask_transforms(options))(data)["pred"]))
    (seen, mask), *others = found
    assert 0 < mask.sum() < mask.numel()
    assert tuple(mask.shape) == hu.shape[::-1]
    for other_seen, other_mask in others:
        torch.testing.assert_close(other_seen, seen, rtol=0, atol=0)
        assert torch.equal(other_mask, mask)


def test_r1_volume_keeps_its_data_type(tmp_path):
    """R1: a float32 copy would be twice as large."""
    data = Compose(image_transforms(INFO["preprocessing"], keep_hu=True))(
        {"image": write_chest(tmp_path / "a.nrrd", 20)}
    )
    stored = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.nrrd")))
    assert data["hu"].dtype == torch.int16
    np.testing.assert_array_equal(data["hu"].numpy()[0], stored.transpose())


def test_mean_and_deviation_are_those_of_all_blocks(tmp_path):
    preprocessing = SMALL | {"size": [128, 128], "normalise": "scan", "slice_offsets_mm": [0]}
    path = write_chest(tmp_path / "a.nrrd", 70)
    image = Compose(image_transforms(preprocessing))({"image": path})["image"]
    fixed = preprocessing | {"normalise": "dataset", "hu_mean": 0, "hu_std": 1}
    hu = Compose(image_transforms(fixed))({"image": path})["image"].as_tensor().double()
    sides = field_of(image)
    assert sides.stops[0] - sides.starts[0] == 128  # and it is not resampled
    expected = (hu - hu.mean()) / hu.std(correction=0)
    torch.testing.assert_close(image.as_tensor().double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("length", [1, 3, 11])
def test_r1_neighbouring_slices_are_the_same_at_block_borders(length):
    """R1: they come from the adjacent blocks; only beyond the ends of the scan they are air."""
    generator = torch.Generator().manual_seed(0)
    volume = MetaTensor(
        torch.randn(1, 6, 5, 11, generator=generator), affine=torch.diag(torch.tensor([1.0, 1, 1.7, 1]))
    )
    offsets_mm = INFO["preprocessing"]["slice_offsets_mm"]
    whole = AdjacentSlicesd(keys="image", offsets_mm=offsets_mm)({"image": volume})["image"].as_tensor()
    plain = volume.as_tensor()
    blocks = [
        adjacent_slices(plain, in_slices(offsets_mm, volume), start, min(start + length, 11), plain.min())
        for start in range(0, 11, length)
    ]
    assert torch.equal(torch.cat(blocks, dim=-1), whole)


def test_r1_network_gets_the_same_input_from_a_batch_as_from_the_whole_volume():
    """R1: channels are created for one batch at a time."""
    torch.manual_seed(0)
    volume = MetaTensor(torch.randn(1, 32, 32, 9), affine=torch.diag(torch.tensor([1.0, 1, 2.0, 1])))
    stacked = AdjacentSlicesd(keys="image", offsets_mm=(-3, 0, 3))({"image": volume})["image"].as_tensor()
    network = AttentionResidualUNet(in_channels=3, channels=(4, 8)).eval()
    whole, _ = infer_slices(network, stacked, (1, 8), batch_size=2, views=4)
    offsets = in_slices((-3, 0, 3), volume)
    parts, _ = infer_slices(network, volume.as_tensor(), (1, 8), batch_size=2, offsets=offsets, views=4)
    assert torch.equal(parts, whole)


@pytest.mark.parametrize("count", [64, 65])
def test_r1_series_is_read_completely_in_blocks_of_files(count, tmp_path):
    """R1: the last block may be a single file."""
    hu = np.random.default_rng(0).integers(-1000, 400, (count, 6, 5)).astype(np.int16)
    write_dicom_series(tmp_path, hu, np.diag([1.0, 1, 2, 1]), patient_id="P", shuffle_files=True)
    volume = read_volume(list(tmp_path.iterdir()))
    assert volume.GetPixelID() == sitk.sitkInt16
    np.testing.assert_array_equal(sitk.GetArrayFromImage(volume), hu)


def test_r1_one_slice_with_fractional_values_makes_the_volume_float(tmp_path):
    """R1: wherever it is; slices read before it keep their values."""
    hu = np.random.default_rng(0).integers(-1000, 400, (70, 6, 5)).astype(np.int16)
    write_dicom_series(tmp_path, hu, np.diag([1.0, 1, 2, 1]), patient_id="P")
    path = sorted_slices(tmp_path)[67]
    slice_ = pydicom.dcmread(path)
    slice_.RescaleIntercept = -1023.5
    slice_.save_as(path)
    volume = read_volume(list(tmp_path.iterdir()))
    assert volume.GetPixelID() == sitk.sitkFloat32
    expected = hu.astype(np.float32)
    expected[67] += 0.5
    np.testing.assert_array_equal(sitk.GetArrayFromImage(volume), expected)


def test_benchmark_scan_is_a_chest_with_a_body_below_it(tmp_path):
    write_long_scan(tmp_path, 110, side=64)
    volume = read_volume(list(tmp_path.iterdir()))
    assert volume.GetSize() == (64, 64, 110)
    path = tmp_path / "volume.nrrd"
    write_volume(volume, path)
    data = Compose(image_transforms(SMALL, neighbours=False))({"image": path})
    assert data["lungs_found"]
    first, last = data["lung_slices"]
    assert 0 < first <= 10
    assert last == 110


def test_peak_memory_of_a_process_is_measured():
    with peak_resident_bytes(os.getpid()) as peak:
        before = peak.copy()
        for _ in range(200):  # until the monitoring thread has sampled
            block = np.ones(200_000_000, np.uint8)
            if len(peak) > 1:
                break
    del block
    assert before == [0]
    assert max(peak) > 200_000_000
