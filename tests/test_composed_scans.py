"""Composition of nodule crops into a whole scan."""

import argparse
import json

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from lib.cli import compose as command
from lib.errors import UserError
from lib.evaluation.composed_scans import Volume, compose, find_lung, is_in_lung, read_volume

LUNG, TISSUE = -850, 40
SCAN_AFFINE = np.array([[0, 2.0, 0, -100], [-2.0, 0, 0, 90], [0, 0, 3.0, -50], [0, 0, 0, 1]])  # axes A, L, S
CROP_AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])


def save(folder, name, hu, mask, affine):
    for kind, values in (("images", hu.astype(np.int16)), ("masks", mask.astype(np.uint8))):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(values, affine), folder / kind / f"{name}.nii.gz")


def write_scan(folder):
    hu = np.full((90, 110, 40), -1000)
    hu[8:82, 10:100] = TISSUE
    hu[20:70, 18:52, 4:36] = hu[20:70, 58:92, 4:36] = LUNG
    mask = np.zeros(hu.shape, bool)
    mask[40:46, 30:36, 18:22] = True
    hu[mask] = TISSUE
    save(folder, "scan", hu, mask, SCAN_AFFINE)


def write_crop(folder, name, on_wall=False):
    """Write a crop with a box of 10 x 14 x 8 mm, whose axes cannot be confused."""
    hu = np.full((40, 40, 24), LUNG)
    mask = np.zeros(hu.shape, bool)
    mask[15:25, 13:27, 8:16] = True
    if on_wall:
        hu[:, 20:] = TISSUE
    hu[mask] = TISSUE + 60
    save(folder, name, hu, mask, CROP_AFFINE)


@pytest.fixture
def data(tmp_path):
    write_scan(tmp_path / "scans")
    for number in range(3):
        write_crop(tmp_path / "crops", f"P{number}_1")
    write_crop(tmp_path / "crops", "P3_1", on_wall=True)
    return tmp_path


def run(data, *extra):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    words = ["--scans", data / "scans" / "images", "--scan-masks", data / "scans" / "masks"]
    words += ["--images", data / "crops" / "images", "--masks", data / "crops" / "masks", "--output", data / "out"]
    return command.run(parser.parse_args([str(word) for word in (*words, *extra)]))


def read(data, folder, name):
    return read_volume(name, data / folder / "images" / f"{name}.nii.gz", data / folder / "masks" / f"{name}.nii.gz")


def test_nodules_are_placed_in_lung_at_their_size(data):
    assert run(data, "--nodules", "2") == 0
    made = json.loads((data / "out" / "compose.json").read_text())["nodules"]
    assert sorted(name for names in made.values() for name in names) == [
        "P0_1",
        "P1_1",
        "P2_1",
    ]  # P3_1 is on the wall
    scan = read(data, "scans", "scan")
    for name, placed in made.items():
        volume = read(data, "out", name)
        assert np.allclose(volume.affine, scan.affine) and volume.hu.shape == scan.hu.shape
        lesions, count = ndimage.label(volume.mask)
        assert count == len(placed) + 1  # plus the scan's own lesion
        for box in ndimage.find_objects(lesions):
            if (scan.mask[box]).any():
                continue
            sides = [(cut.stop - cut.start) * length for cut, length in zip(box, volume.spacing, strict=True)]
            assert sides == pytest.approx([10, 14, 8], abs=3)
            assert volume.hu[box][volume.mask[box]].mean() > 0
            assert (scan.hu[box] == LUNG).all()


def test_scan_is_unchanged_away_from_the_nodules(data):
    scan = read(data, "scans", "scan")
    nodule = read_volume(
        "P0_1", *(data / "crops" / kind / "P0_1.nii.gz" for kind in ("images", "masks")), spacing=scan.spacing
    )
    before = scan.hu.copy()
    volume, placed = compose(scan, find_lung(scan), [nodule], np.random.default_rng(0))
    assert placed == ["P0_1"]
    assert np.array_equal(scan.hu, before)
    far = ndimage.distance_transform_edt(~(volume.mask & ~scan.mask), sampling=scan.spacing) > 7.1
    assert np.array_equal(volume.hu[far], before[far])
    assert (volume.mask & scan.mask).sum() == scan.mask.sum()


def test_nodule_without_room_is_skipped(data):
    scan = read(data, "scans", "scan")
    nodule = read(data, "crops", "P0_1")
    volume, placed = compose(scan, np.zeros(scan.hu.shape, bool), [nodule], np.random.default_rng(0))
    assert placed == [] and np.array_equal(volume.hu, scan.hu)


def test_nodule_on_the_wall_is_detected(data):
    assert is_in_lung(read(data, "crops", "P0_1"))
    assert not is_in_lung(read(data, "crops", "P3_1"))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("marked", [False, True])
def test_a_crop_without_a_nodule_or_anything_around_it_is_not_in_lung(marked):
    mask = np.full((10, 10, 4), marked)
    assert not is_in_lung(Volume("crop", np.full(mask.shape, LUNG), mask, np.eye(4), (1.0, 1.0, 1.0)))


def test_composition_is_reproducible_with_a_seed(data):
    run(data)
    first = read(data, "out", "scan_0").mask
    run(data)
    assert np.array_equal(first, read(data, "out", "scan_0").mask)
    run(data, "--seed", "1")
    assert not np.array_equal(first, read(data, "out", "scan_0").mask)


def test_rejects_input_without_usable_nodules(data):
    for path in (data / "crops").rglob("P[0-2]_1.nii.gz"):
        path.unlink()
    with pytest.raises(UserError, match="None of the nodules"):
        run(data)
    with pytest.raises(UserError, match="--nodules"):
        run(data, "--nodules", "0")
