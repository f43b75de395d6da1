"""Small runs of `python main.py benchmark`."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from lib.dicomweb.folder_client import FolderClient
from lib.dicomweb.matching import values_of
from lib.networks import AttentionResidualUNet
from lib.phantoms import Acquisition, chest_volume, write_volume
from lib.publishing import ModelStore
from lib.settings import load_info
from tools.benchmark.inference import (
    crf_slice_by_slice_seconds,
    inference_cost,
    peak_flops,
    training_slices_per_second,
    write_repeated,
)
from tools.benchmark.scale import SLICES, measure, write_instances
from tools.support.app_server import monailabel_server


@pytest.fixture
def info():
    info = load_info()
    info["network"]["channels"] = [2, 2]
    return info


@pytest.fixture
def scan(tmp_path):
    hu, _, affine = chest_volume(3, acquisition=Acquisition(shape=(24, 64, 72), spacing=(6.0, 5.0, 5.2)))
    return write_repeated(write_volume(tmp_path / "chest.nrrd", hu, affine), tmp_path / "scan.nrrd", slices=30)


@pytest.mark.slow
def test_inference_stages_add_up_to_the_total(info, scan, tmp_path):
    network = AttentionResidualUNet(**info["network"])
    torch.nn.init.constant_(network.head.conv.weight, 0)
    torch.nn.init.constant_(network.head.conv.bias, -5)  # no findings, so the CRF does nothing
    (tmp_path / "model").mkdir()
    torch.save({"model": network.state_dict()}, tmp_path / "model" / "pretrained_lung_tumor.pt")
    cost = inference_cost(scan, info, ModelStore(tmp_path / "model"), rounds=1)
    parts = (cost.reading, cost.preprocessing, cost.network, cost.feeding, cost.postprocessing, cost.crf, cost.writing)
    assert min(parts) >= -0.02  # the server rounds to hundredths
    assert sum(parts) <= cost.total + 0.05
    assert 0 < cost.network < cost.total
    assert 0 < cost.seen_slices <= 30
    assert cost.findings == 0
    # The two full-resolution 3x3 convolutions alone; a multiply-add counts as two operations.
    at_least = 2 * 9 * 2 * (info["network"]["in_channels"] + 2) * 256 * 256
    assert cost.network_flops * cost.network / cost.seen_slices > at_least


def test_repeated_scan_keeps_its_grid(scan, tmp_path):
    image, chest = sitk.ReadImage(str(scan)), sitk.ReadImage(str(tmp_path / "chest.nrrd"))
    assert image.GetSize() == (72, 64, 30)
    assert (image.GetSpacing(), image.GetOrigin()) == (chest.GetSpacing(), chest.GetOrigin())
    voxels = sitk.GetArrayFromImage(image)
    np.testing.assert_array_equal(voxels[24:], voxels[:6])


@pytest.mark.slow
def test_reference_values_are_measured(info, scan):
    assert crf_slice_by_slice_seconds(scan, info) > 0
    assert peak_flops(torch.device("cpu")) > 1e8
    assert training_slices_per_second(info, torch.device("cpu"), batch_size=2) > 0


@pytest.mark.slow
def test_generated_instances_are_distinct(tmp_path):
    assert write_instances(tmp_path / "many", 2 * SLICES + 5, tmp_path / "template") == 3
    client = FolderClient(tmp_path / "many", tmp_path / "segs", tmp_path / "index.sqlite")
    assert client.scan().added == 2 * SLICES + 5
    assert client.index.problems() == []
    studies = client.search_for_studies()
    assert len({values_of(study, "00100020")[0] for study in studies}) == 3
    assert sorted(values_of(study, "00201208")[0] for study in studies) == sorted(["250", "250", "5"])
    assert not (tmp_path / "template").exists()


@pytest.mark.server
def test_scale_is_measured_with_the_real_server_and_cleaned_up(tmp_path):
    def start(studies, workspace):
        return monailabel_server(studies, tmp_path / "server", workspace=workspace, scored_images=0, rescan_seconds=0.2)

    scale = measure(SLICES + 20, tmp_path / "scratch", start, idle_seconds=0.5)
    assert (scale.instances, scale.series) == (SLICES + 20, 2)
    assert min(scale.first_seconds, scale.restart_seconds, scale.noticed_seconds, scale.first_cpu_seconds) > 0
    assert scale.memory_mib > 50
    assert scale.idle_cores >= 0
    assert not list((tmp_path / "scratch").iterdir())
