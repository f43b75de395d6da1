"""The inference that `python main.py benchmark` times, on a small scan: what it counts, and that its parts add up."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from lib.benchmark.inference import (
    crf_slice_by_slice_seconds,
    inference_cost,
    peak_flops,
    training_slices_per_second,
    write_repeated,
)
from lib.networks import AttentionResidualUNet
from lib.phantoms import Acquisition, chest_volume, write_volume
from lib.publishing import ModelStore
from lib.settings import load_info


@pytest.fixture
def info():
    info = load_info()
    info["network"]["channels"] = [2, 2]
    return info


@pytest.fixture
def scan(tmp_path):
    hu, _, affine = chest_volume(3, acquisition=Acquisition(shape=(24, 64, 72), spacing=(6.0, 5.0, 5.2)))
    return write_repeated(write_volume(tmp_path / "chest.nrrd", hu, affine), tmp_path / "scan.nrrd", slices=30)


def test_the_parts_of_an_inference_are_its_whole(info, scan, tmp_path):
    network = AttentionResidualUNet(**info["network"])
    torch.nn.init.constant_(network.head.conv.weight, 0)
    torch.nn.init.constant_(network.head.conv.bias, -5)  # nothing is tumour: the CRF has nothing to do
    (tmp_path / "model").mkdir()
    torch.save({"model": network.state_dict()}, tmp_path / "model" / "pretrained_lung_tumor.pt")
    cost = inference_cost(scan, info, ModelStore(tmp_path / "model"), rounds=1)
    parts = (cost.reading, cost.preprocessing, cost.network, cost.feeding, cost.postprocessing, cost.crf, cost.writing)
    assert min(parts) >= -0.02  # the server rounds to hundredths
    assert sum(parts) <= cost.total + 0.05
    assert 0 < cost.network < cost.total
    assert 0 < cost.lung_slices <= 30
    assert cost.findings == 0
    # The two 3x3 convolutions at full resolution alone, multiplication and addition counted apart.
    at_least = 2 * 9 * 2 * (info["network"]["in_channels"] + 2) * 256 * 256
    assert cost.network_flops * cost.network / cost.lung_slices > at_least


def test_a_scan_is_repeated_on_its_own_grid(scan, tmp_path):
    image, chest = sitk.ReadImage(str(scan)), sitk.ReadImage(str(tmp_path / "chest.nrrd"))
    assert image.GetSize() == (72, 64, 30)
    assert (image.GetSpacing(), image.GetOrigin()) == (chest.GetSpacing(), chest.GetOrigin())
    voxels = sitk.GetArrayFromImage(image)
    np.testing.assert_array_equal(voxels[24:], voxels[:6])


def test_what_is_put_beside_an_inference_is_measured(info, scan):
    assert crf_slice_by_slice_seconds(scan, info) > 0
    assert peak_flops(torch.device("cpu")) > 1e8
    assert training_slices_per_second(info, torch.device("cpu"), batch_size=2) > 0
