"""Training of the model for clicks: cubes, sessions, data, and ``python main.py train-clicks`` from end to end."""

import argparse
import json
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch

from lib.cli import evaluate, train_clicks
from lib.clicks.lesion_image import LesionImage, read_lesion_image
from lib.clicks.model import ClickModel
from lib.clicks.open_images import OpenImage
from lib.errors import UserError
from lib.phantoms import Acquisition, chest_volume, draw_lesions, write_volume
from lib.settings import load_info
from lib.training.click_cubes import CubeSampler
from lib.training.click_data import read_click_data
from lib.training.click_sessions import ClickSessions
from lib.training.data_folders import DataFolders
from lib.training.data_split import held_out
from tests.support.click_models import AIR, TISSUE, grid_in_order

MODEL = ClickModel((4, 8), 24, 0.75, load_info()["preprocessing"])
AXIAL = ((0, 1, 2), (False, False, False))
LUNG = -850


def crop(radius_mm=5.0, readers=1):
    """Return an image that ends with its lesion along the scan axis."""
    grid = grid_in_order(*AXIAL, size=(40, 40, 2 * round(radius_mm / 1.25) + 1))
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)[..., ::-1]
    distance = np.linalg.norm(grid.to_mm(index), axis=-1)
    masks = np.stack([distance < radius_mm - reader for reader in range(readers)])
    return LesionImage("P_1", "P", OpenImage(np.where(masks[0], TISSUE, LUNG).astype(np.int16), grid), masks)


def lung():
    """Return a whole scan of lung without a lesion, with the density of -800 HU."""
    hu = np.full((60, 120, 120), TISSUE, np.int16)
    hu[5:55, 20:100, 20:100] = -800
    grid = grid_in_order(*AXIAL, size=(120, 120, 60), spacing=(2, 2, 2))
    return LesionImage("lung", "L", OpenImage(hu, grid), np.zeros((1, *hu.shape), bool))


def sampler(crops, whole=(), phantoms=(), seed=0):
    return CubeSampler(crops, whole, phantoms, MODEL, np.random.default_rng(seed))


def test_cube_shows_the_lesion_and_its_truth():
    cubes = sampler([crop()])
    for cube in (cubes.draw() for _ in range(40)):
        assert cube.hu.shape == cube.truth.shape == (24, 24, 24)
        assert cube.truth.any()
        dense, marked = cube.hu > -400, cube.truth > 0.5
        assert (dense & marked).sum() > 0.9 * max(dense.sum(), marked.sum())
        if cube.centred:
            assert cube.truth[11:13, 11:13, 11:13].max() > 0.3, "the click was on the lesion"


def test_pasted_lesion_ends_along_the_scan_axis_in_lung():
    """Nothing of the air around a crop is left: where the crop ends, there is lung."""
    cubes = sampler([crop()], [lung()], seed=1)
    drawn = [cubes.draw() for _ in range(60)]
    pasted = [cube for cube in drawn if cube.hu.min() > AIR]
    assert len(pasted) > 20
    assert len(pasted) < len(drawn), "others end at the border of the crop"
    for cube in pasted:
        assert (cube.hu[cube.truth > 0.9] > -400).mean() > 0.9
        assert cube.truth.max() > 0.9


def clicked_crop(*clicks):
    """Return a crop with first clicks of users (slice, row, column); where the first is, there is a bright spot."""
    image = crop()
    image.image.hu[tuple(clicks[0])] = 3000
    return replace(image, clicks=np.array(clicks))


@pytest.mark.parametrize("whole", [[], [lung()]], ids=["as it is", "pasted"])
def test_half_of_the_sessions_begin_where_a_user_clicked(whole):
    cubes = sampler([clicked_crop([3, 22, 18], [0, 0, 0])], whole)
    drawn = [cubes.draw() for _ in range(80)]
    clicked = [cube for cube in drawn if cube.clicked is not None]
    assert 25 < len(clicked) < 55
    for cube in clicked:
        spot = np.argwhere(cube.hu == cube.hu.max())[0]
        assert np.abs(spot - cube.clicked).max() <= 2, "turned and enlarged with the lesion"
    rng = np.random.default_rng(0)
    running = ClickSessions(cubes, MODEL.preprocessing, 40, rng)._sessions
    begun = [one for one in running if one.cube.clicked is not None and one.former is None]
    assert any(one.positive[0] is one.cube.clicked for one in begun)


def test_clicks_beside_the_lesion_change_nothing():
    without, beside = sampler([crop()]), sampler([replace(crop(), clicks=np.array([[0, 0, 0], [3, 2**31, 9]]))])
    for _ in range(10):
        one, other = without.draw(), beside.draw()
        assert other.clicked is None
        np.testing.assert_array_equal(one.hu, other.hu)


def test_large_lesions_are_seen_whole_and_filling_the_cube():
    cubes = sampler([], [crop(radius_mm=18)])
    shares = [cube.truth.mean() for cube in (cubes.draw() for _ in range(40))]
    assert min(shares) < 0.2
    assert max(shares) > 0.5


def test_truth_is_mostly_the_consensus_and_sometimes_one_reader():
    cubes = sampler([crop(readers=3)])
    lesion = next(iter(cubes._lesions["crop"]))
    sizes = [int(cubes._truth(lesion).sum()) for _ in range(100)]
    by_reader = lesion.readers.sum((1, 2, 3)).tolist()
    assert set(sizes) == set(by_reader)
    assert sizes.count(by_reader[1]) > 50, "two of the three marked what the second marked"


def test_training_on_nothing_is_refused():
    with pytest.raises(UserError, match="nothing to train on"):
        sampler([], [lung()])


def sessions(batch_size=6):
    rng = np.random.default_rng(0)
    return ClickSessions(CubeSampler([crop()], [], [], MODEL, rng), MODEL.preprocessing, batch_size, rng)


def test_sessions_click_where_the_outline_is_wrong():
    running = sessions()
    batches = iter(running)
    seen_negative = seen_former = False
    for _ in range(12):
        inputs, truth = next(batches)
        assert inputs.shape == (6, 4, 24, 24, 24)
        assert truth.shape == (6, 1, 24, 24, 24)
        positive, negative, former = (inputs[:, channel].flatten(1) for channel in (1, 2, 3))
        assert ((positive.max(1).values == 1) | (negative.max(1).values == 1)).all(), "each has a click"
        seen_negative |= bool(negative.any())
        seen_former |= bool(former.any())
        everything_too_large = torch.nn.functional.max_pool3d(truth, 7, 1, 3)
        running.answer(20 * everything_too_large - 10)
    assert seen_negative
    assert seen_former


def test_right_outline_ends_a_session():
    running = sessions()
    batches = iter(running)
    before = [session.cube for session in running._sessions]
    _, truth = next(batches)
    running.answer(20 * (truth >= 0.5).float() - 10)
    assert not any(session.cube is cube for session, cube in zip(running._sessions, before, strict=True))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Write a whole phantom with lesions, and crops around the lesions of another, two of them held out."""
    root = tmp_path_factory.mktemp("data")
    grid = Acquisition(shape=(24, 128, 128), spacing=(5.0, 2.8, 2.8))
    lesions = draw_lesions(1, 5, diameters=(14, 30))
    hu, mask, affine = chest_volume(1, lesions=lesions, acquisition=grid)
    write_volume(root / "whole" / "images" / "W1_chest.nii.gz", hu, affine)
    write_volume(root / "whole" / "masks" / "W1_chest.nii.gz", mask, affine)
    unseen = [name for name in (f"P{number}" for number in range(100)) if held_out(name)][:2]
    names = [*unseen, "P0", "P1", "P2"]
    for name, lesion in zip(names, lesions, strict=True):
        middle = np.linalg.inv(affine) @ [*lesion.center, 1]
        low = np.clip(np.rint(middle[2::-1]).astype(int) - (3, 9, 9), 0, None)
        box = tuple(slice(start, start + length) for start, length in zip(low, (6, 18, 18), strict=True))
        moved = affine.copy()
        moved[:3, 3] = (affine @ [*low[::-1], 1])[:3]
        write_volume(root / "crops" / "images" / f"{name}_R.nii.gz", hu[box], moved)
        write_volume(root / "crops" / "masks" / f"{name}_R.nii.gz", mask[box], moved)
    return root


def folders(data):
    kinds = (data / "crops", data / "whole")
    return DataFolders(tuple(kind / "images" for kind in kinds), tuple(kind / "masks" for kind in kinds))


def test_data_is_split_by_patient(data, tmp_path):
    read = read_click_data(folders(data), load_info(), tmp_path, leave_out=["P1"], phantoms=1)
    assert {image.patient for image in read.crops} == {"P0", "P2"}
    assert all(held_out(image.patient) for image in read.test_crops)
    assert len(read.test_crops) == 2
    assert [image.patient for image in read.whole] == ["W1"]
    assert read.patients == {"P0", "P2", "W1"}
    assert read.phantoms[0].consensus.any()
    with pytest.raises(UserError, match="no images of X"):
        read_click_data(folders(data), load_info(), tmp_path, leave_out=["X"])


def test_empty_channels_are_no_readers(data, tmp_path):
    image = next((data / "crops" / "images").iterdir())
    mask = np.zeros((18, 18, 6, 3), np.uint8)
    mask[8:12, 8:12, 2:4, 0] = 1
    nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), tmp_path / "readers.nii.gz")
    read = read_lesion_image("x", "x", image, tmp_path / "readers.nii.gz")
    assert len(read.readers) == 1
    assert read.consensus.sum() == 32
    assert read.consensus[2:4, 8:12, 8:12].all()


@pytest.mark.slow
def test_training_learns_resumes_and_is_evaluated(data, tmp_path, monkeypatch):
    info = load_info()
    info["clicks"] = {"channels": [4, 8], "cube_voxels": 16, "cube_voxel_mm": 2.5}
    monkeypatch.setattr(train_clicks, "load_info", lambda: info)
    common = ["--images", data / "crops" / "images", data / "whole" / "images"]
    common += ["--masks", data / "crops" / "masks", data / "whole" / "masks"]

    def parsed(module, *more):
        parser = argparse.ArgumentParser()
        module.add_arguments(parser)
        return parser.parse_args([str(word) for word in (*common, *more)])

    line = ["--output", tmp_path / "run", "--save-every", 15, "--batch-size", 4, "--phantoms", 0]
    assert train_clicks.run(parsed(train_clicks, *line, "--steps", 60, "--learning-rate", 0.01)) == 0
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    losses = [entry["loss"] for entry in manifest["history"]]
    assert losses[-1] < losses[0]
    assert manifest["trained_on"] == ["P0", "P1", "P2", "W1"]
    assert manifest["settings"]["clicks"] == info["clicks"]
    assert manifest["history"][-1]["test_crop_dice_3_clicks"] is not None
    with pytest.raises(UserError, match="other settings or data"):
        train_clicks.run(parsed(train_clicks, *line, "--steps", 61))

    out = tmp_path / "report"
    models = ["--models", f"small={tmp_path / 'run' / 'model.pt'}"]
    arguments = parsed(evaluate, *models, "--output", out, "--clicks", 2, "--places", 2, "--held-out")
    assert evaluate.run(arguments) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    summary = metrics["models"]["small"]
    assert summary["lesions"] == len(metrics["cases"]["small"]) >= 2
    assert len(summary["curves"][0]["dice"]) == 2
    assert {row["lesions"] for row in summary["planes"]} == {
        f"all, {plane} clicks" for plane in ("axial", "coronal", "sagittal")
    }
    assert summary["spread_of_first_click"] is not None
    page = (out / "report.html").read_text()
    assert "Dice after 2 clicks" in page
    assert page.count("<figure>") == summary["lesions"]
