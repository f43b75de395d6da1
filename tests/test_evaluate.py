"""``python main.py evaluate`` on perfect, empty and shifted masks against manually calculated values."""

import argparse
import dataclasses
import json
import re
from xml.etree import ElementTree

import nibabel as nib
import numpy as np
import pytest

from lib.cli import evaluate
from lib.cohort import evaluation
from lib.errors import UserError
from lib.evaluation import measuring
from lib.evaluation.figures import bar_chart
from lib.evaluation.froc import LIMITS, froc_curve
from lib.inference.predictor import Prediction

SHAPE = (40, 40, 20)
AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])


def ball(centre, radius_mm):
    distance = np.linalg.norm((np.indices(SHAPE).T - centre) * [1, 1, 2], axis=-1).T
    return distance <= radius_mm


class FakePredictor:
    """Predictor that derives masks from the ground truth, according to its name."""

    model = None

    def __init__(self, model, weights):
        self.kind = weights.path.name
        options = model.options.model_copy(update={"false_findings_per_scan": 1.0})
        self.model = FakePredictor.model = dataclasses.replace(model, options=options)

    def load(self):
        """Do nothing: the file is empty."""

    def _mask(self, image, change):
        truth = nib.load(str(image).replace("images", "masks")).get_fdata() > 0
        if self.kind == "empty" or (change is not None and self.kind == "fragile"):
            return np.zeros(SHAPE, np.uint8)
        if self.kind == "shifted":
            return np.roll(truth, 2, axis=0).astype(np.uint8)
        if self.kind == "inventive":
            return (truth | ball((35, 35, 15), 2)).astype(np.uint8)
        return truth.astype(np.uint8)

    def predict_variants(self, image, variants, change=None):
        """Return nothing below a limit of 1 and an additional false positive above 2."""
        invented = ball((35, 35, 15), 2).astype(np.uint8)
        mask = self._mask(image, change)
        limits = [options.false_findings_per_scan for options in variants]
        masks = [mask * (limit >= 1) | invented * (limit > 2) for limit in limits]
        return [Prediction(mask, []) for mask in masks]


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "Predictor", FakePredictor)
    for name, radius in (("A_1", 4), ("B_1", 8), ("C_1", None)):
        truth = ball((12, 15, 9), radius) if radius else np.zeros(SHAPE, bool)
        for kind, array in (("images", np.where(truth, 40, -800)), ("masks", truth)):
            (tmp_path / kind).mkdir(exist_ok=True)
            nib.save(nib.Nifti1Image(array.astype(np.int16), AFFINE), tmp_path / kind / f"{name}.nii.gz")
    return tmp_path


def run(data, *extra, models=("perfect", "empty", "shifted", "inventive", "fragile")):
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    words = ["--images", data / "images", "--masks", data / "masks", "--output", data / "out", *extra]
    for name in models:
        (data / name).touch()
    words += ["--models", *(f"{name}={data / name}" for name in models)]
    assert evaluate.run(parser.parse_args([str(word) for word in words])) == 0
    return json.loads((data / "out" / "metrics.json").read_text())["models"]


def test_metrics_match_manual_calculation(data):
    models = run(data)
    sizes = [int(ball((12, 15, 9), radius).sum()) for radius in (4, 8)]
    overlaps = [int((ball((12, 15, 9), r) & ball((14, 15, 9), r)).sum()) for r in (4, 8)]
    perfect, empty, shifted = models["perfect"], models["empty"], models["shifted"]

    for measure in ("dice", "iou", "small_tumor_recall", "accuracy", "precision", "sensitivity", "f_score"):
        assert perfect[measure] == 1
    assert perfect["robustness_std"] == perfect["false_positives_per_scan"] == 0
    assert perfect["n"] == 3

    # An empty mask is correct for the one of three images without a lesion.
    assert empty["dice"] == empty["iou"] == pytest.approx(1 / 3)
    assert empty["small_tumor_recall"] == empty["sensitivity"] == empty["f_score"] == 0

    dice = [overlap / size for overlap, size in zip(overlaps, sizes, strict=True)]
    assert shifted["dice"] == pytest.approx((sum(dice) + 1) / 3)
    assert shifted["sensitivity"] == shifted["precision"] == pytest.approx(sum(overlaps) / sum(sizes))
    assert shifted["f_score"] == pytest.approx(sum(overlaps) / sum(sizes))
    iou = overlaps[0] / (2 * sizes[0] - overlaps[0])
    assert shifted["small_tumor_recall"] == float(iou >= 0.3)

    assert models["inventive"]["false_positives_per_scan"] == 1
    assert models["inventive"]["lesion_recall"] == 1
    # Two images lose all their Dice under each of five perturbations: 1, 0, 0, 0, 0, 0; the third keeps it.
    assert models["fragile"]["robustness_std"] == pytest.approx(np.std([1, 0, 0, 0, 0, 0]) * 2 / 3)


def test_each_metric_has_its_averaging_and_confidence_interval(data):
    (model,) = run(data, models=("shifted",)).values()
    for measure in ("dice", "iou", "small_tumor_recall", "robustness_std", "false_positives_per_scan", "accuracy"):
        assert model["averaged"][measure]
        low, high = model["interval_95"][measure]
        assert low <= model[measure] <= high
    assert [size["lesions"] for size in model["sizes"]] == [0, 1, 1, 0]


def test_report_is_self_contained_and_lists_the_worst_first(data):
    run(data, "--no-robustness", models=("shifted",))
    page = (data / "out" / "report.html").read_text()
    assert "http://" not in page and "https://" not in page
    assert page.count("data:image/png;base64,") == 3
    assert page.index("A_1") < page.index("B_1") < page.index("C_1: Dice")
    assert "Table 1" in page and "Table 2" in page and "Table 3" in page and "<svg" in page
    assert "0.890" in page  # the value of the paper
    in_order = ["Table 1", "Table 2", "Table 3", "Table 4", "Figure 2", "Figure 3", "Supplement"]
    assert sorted(in_order, key=page.index) == in_order
    assert "Recall, lesions under 10 mm" in page and "small_tumor" not in page


def test_legend_of_a_chart_is_never_cut():
    names = ["shipped", "paper: attention U-Net", "a model with a name that is quite long, and longer", "x"]
    chart = bar_chart({"Dice": dict.fromkeys(names, 0.5)})
    width, height = (float(value) for value in re.search(r'viewBox="0 0 (\d+) (\d+)"', chart).groups())
    entries = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" font-size="12">([^<]+)</text>', chart)
    placed = {text: (float(x), float(y)) for x, y, text in entries}
    assert placed.keys() == {"Dice", *names}
    assert all(x + 7 * len(text) <= width and y < height for text, (x, y) in placed.items())


def test_held_out_requires_held_out_patients(data):
    with pytest.raises(UserError, match="held-out"):
        run(data, "--held-out")


def test_settings_of_the_training_run_are_used(data, tmp_path):
    manifest = {"settings": {"network": {"in_channels": 3, "attention": False}}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "baseline").touch()
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    words = ["--images", data / "images", "--masks", data / "masks", "--output", data / "out", "--no-robustness"]
    evaluate.run(parser.parse_args([*map(str, words), "--models", f"baseline={tmp_path / 'baseline'}"]))
    assert not FakePredictor.model.network().gates


def test_rejects_a_mask_on_another_grid(data):
    nib.save(nib.Nifti1Image(np.zeros(SHAPE, np.int16), np.eye(4)), data / "masks" / "B_1.nii.gz")
    with pytest.raises(UserError, match="not on the grid"):
        run(data, models=("perfect",))


def test_rejects_a_model_without_a_name(data):
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    words = ["--images", data / "images", "--masks", data / "masks", "--output", data / "out", "--models", "x.pt"]
    with pytest.raises(UserError, match="NAME=FILE"):
        evaluate.run(parser.parse_args(list(map(str, words))))


@pytest.fixture
def data_with_readers(data):
    """Add masks: three readers of A_1 and B_1, of whom the third marks nothing, and a single reader of C_1."""
    (data / "readers").mkdir()
    for name in ("A_1", "B_1", "C_1"):
        truth = nib.load(data / "masks" / f"{name}.nii.gz").get_fdata().astype(np.uint8)
        masks = truth if name == "C_1" else np.stack([truth, truth, 0 * truth], axis=-1)
        nib.save(nib.Nifti1Image(masks, AFFINE), data / "readers" / f"{name}.nii.gz")
    lesions = [{"name": name, "outlines": [{"texture": t} for t in (5, 4, 1)]} for name in ("A_1", "C_1")]
    (data / "nodules.json").write_text(json.dumps(lesions))
    return data


def test_readers_are_reported_beside_the_model(data_with_readers, capsys):
    data = data_with_readers
    masks = ["--masks", str(data / "readers"), "--properties", str(data / "nodules.json"), "--no-robustness"]
    model = run(data, *masks, models=("perfect",))["perfect"]
    rows = {row["class"]: row for row in model["readers"]}
    assert {title: row["images"] for title, row in rows.items()} == {
        "all": 2,
        "6 to 10 mm": 1,
        "10 to 20 mm": 1,
        "solid": 1,
    }
    everything = {name: rows["all"][name]["mean"] for name in ("model", "reader", "pairs", "difference")}
    # The first two readers agree with half of the others, the third does not; of three pairs one agrees.
    assert everything == pytest.approx({"model": 1, "reader": 2 / 3, "pairs": 1 / 3, "difference": 1 / 3})
    assert model["dice"] == 1  # of three images, that of the single reader too
    assert "| all | 2 (2) | 1.000 | 0.667 |" in capsys.readouterr().out
    assert "perfect beside the readers" in (data / "out" / "report.html").read_text()
    cases = json.loads((data / "out" / "metrics.json").read_text())["cases"]["perfect"]
    assert [(case["patient"], case["texture"]) for case in cases] == [("A", "solid"), ("B", None), ("C", "solid")]
    assert [case["readers"] and case["readers"]["readers"] for case in cases] == [3, 3, None]


def test_picture_shows_the_consensus_and_not_the_first_reader(data_with_readers, monkeypatch):
    data = data_with_readers
    name = data / "readers" / "A_1.nii.gz"
    nib.save(nib.Nifti1Image(nib.load(name).get_fdata()[..., [2, 0, 1]].astype(np.uint8), AFFINE), name)
    shown = []
    monkeypatch.setattr(measuring, "slice_strip", lambda image, truth, *_: shown.append(int(truth.sum())) or "")
    run(data, "--masks", str(data / "readers"), "--no-robustness", models=("perfect",))
    assert shown == [int(ball((12, 15, 9), radius).sum()) for radius in (4, 8)] + [0]


def test_report_has_no_comparison_without_readers(data, capsys):
    assert run(data, "--no-robustness", models=("perfect",))["perfect"]["readers"] == []
    assert "readers" not in (data / "out" / "report.html").read_text()
    assert capsys.readouterr().out == ""


def test_rejects_properties_of_other_images(data):
    (data / "nodules.json").write_text(json.dumps([{"name": "X_1", "outlines": [{"texture": 5}]}]))
    with pytest.raises(UserError, match="none of the images, for example A_1"):
        run(data, "--properties", str(data / "nodules.json"), models=("perfect",))


def test_froc_matches_manual_calculation(data):
    (model,) = run(data, "--froc", "--no-robustness", models=("perfect",)).values()
    points = {point["false_findings_per_scan"]: point for point in model["froc"]}
    assert list(points) == list(LIMITS)
    for limit, point in points.items():
        found = float(limit >= 1)
        assert point["lesion_recall"] == point["small_tumor_recall"] == point["lesion_dice"] == found
        assert point["false_positives_per_scan"] == float(limit > 2)
    page = (data / "out" / "report.html").read_text()
    assert 'aria-label="FROC curve"' in page and page.count("<circle") == len(LIMITS)


def test_froc_curve_has_false_positives_on_x_and_recall_on_y():
    points = [
        {"false_findings_per_scan": c, "lesion_recall": recall, "false_positives_per_scan": false}
        for c, recall, false in ((0.5, 1.0, 30), (0.9, 0.5, 2), (0.95, None, 0))
    ]
    svg = ElementTree.fromstring(froc_curve({"shipped": points}))
    line = svg.find("{http://www.w3.org/2000/svg}polyline").get("points").split()
    (x1, y1), (x2, y2) = (map(float, point.split(",")) for point in line)
    assert x1 > x2 and y1 < y2
    ElementTree.fromstring(froc_curve({"nothing": []}))
