"""Ablation study: its variants, tables and training runs."""

import argparse
import json

import nibabel as nib
import numpy as np
import pytest

from lib.cli import ablation
from lib.evaluation.ablation import VARIANTS, table
from lib.settings import load_info
from lib.training.data_split import held_out


def test_each_variant_adds_one_component():
    base = load_info()
    infos = {variant.name: variant.info(base) for variant in VARIANTS}
    parts = {
        name: (
            info["network"]["residual"],
            info["network"]["attention"],
            info["config"]["train"]["loss_lambda"] < 1,
            info["config"]["infer"]["crf"],
            info["preprocessing"]["field"],
        )
        for name, info in infos.items()
    }
    assert parts == {
        "unet": (False, False, False, False, "lungs"),
        "residual": (True, False, False, False, "lungs"),
        "attention": (True, True, False, False, "lungs"),
        "hybrid": (True, True, True, False, "lungs"),
        "second_stage": (True, True, True, False, "lungs"),
        "crf": (True, True, True, True, "lungs"),
        "slice": (True, True, True, False, "slice"),
    }
    assert [variant.name for variant in VARIANTS if variant.second_stage] == ["second_stage"]
    assert base == load_info()


def test_table_has_mean_and_standard_deviation_over_seeds():
    unmeasured = {"small_tumor_recall": None, "robustness_std": None}
    seeds = [
        {"crops": {"dice": dice, "lesion_recall": 1.0, "false_positives_per_scan": 20} | unmeasured}
        for dice in (0.5, 0.7)
    ]
    head, rows = table({"unet": seeds, "hybrid": []}, ["crops"])
    assert head == ["", "crops: Dice", "crops: lesions found", "crops: false findings"]  # only what was measured
    assert rows == [["U-Net, Dice loss", "0.600 ± 0.141", "1.000 ± 0.000", "20.0 ± 0.0"]]


@pytest.fixture
def crops(tmp_path, monkeypatch):
    """Return a folder with crops of two training patients and one held out; the network is tiny."""
    info = load_info()
    info["network"]["channels"] = [4, 8]
    monkeypatch.setattr(ablation, "load_info", lambda: json.loads(json.dumps(info)))
    names = (f"P{number}" for number in range(1000))
    patients = [next(name for name in names if held_out(name) == wanted) for wanted in (False, False, True)]
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    for patient in patients:
        mask = np.zeros((30, 30, 4), np.uint8)
        mask[10:18, 10:20, 1:3] = 1
        for folder, array in (("images", np.where(mask, 40, -800)), ("masks", mask)):
            (tmp_path / folder).mkdir(exist_ok=True)
            nib.save(nib.Nifti1Image(array.astype(np.int16), affine), tmp_path / folder / f"{patient}_R.nii.gz")
    return tmp_path


@pytest.mark.slow
def test_each_variant_is_trained_once_per_seed_and_evaluated(crops, monkeypatch):
    parser = argparse.ArgumentParser()
    ablation.add_arguments(parser)
    words = ["--images", crops / "images", "--masks", crops / "masks", "--output", crops / "out"]
    words += ["--variants", "hybrid", "crf", "slice", "--seeds", 2, "--steps", 2, "--batch-size", 2]
    words += ["--no-robustness"]
    args = parser.parse_args([str(word) for word in words])
    assert ablation.run(args) == 0
    results = json.loads((crops / "out" / "ablation.json").read_text())["results"]
    assert {name: len(seeds) for name, seeds in results.items()} == {"hybrid": 2, "crf": 2, "slice": 2}
    assert results["crf"][0]["crops"]["n"] == 1  # the held-out patient
    manifests = sorted(path.parent.relative_to(crops / "out").as_posix() for path in crops.rglob("manifest.json"))
    assert manifests == ["hybrid/0", "hybrid/1", "slice/0", "slice/1"]  # the CRF variant reuses the training of hybrid
    text = (crops / "out" / "ablation.md").read_text()
    assert [text.count(f"| {variant.title} |") for variant in VARIANTS if variant.name in results] == [1, 1, 1]
    assert "| CRF | dice |" in text
    page = (crops / "out" / "report.html").read_text()
    assert all(f"Table {number}" in page for number in (1, 2, 3, 4))
    assert "Figure 2" in page and "Figure 3" in page and "data:image/png" in page

    monkeypatch.setattr(ablation, "fit", lambda *_, **__: pytest.fail("trained again"))
    assert ablation.run(args) == 0
