"""``python main.py simulate --whole-scans`` on small phantoms: who is labelled, who is measured, and resuming."""

import argparse
import json
import math
import shutil

import pytest
import torch
from PIL import Image

from lib.cli import simulate, simulate_whole_scans
from lib.errors import UserError
from lib.inference.candidate_judge import CLASSIFIER_FILE, CandidateJudge, new_classifier
from lib.networks import AttentionResidualUNet
from lib.networks.weights import read_weights, state_of
from lib.phantoms import Acquisition, chest_volume, draw_lesions, write_volume
from lib.publishing import ModelStore
from lib.publishing.gate import PatientScores
from lib.publishing.version_files import PRETRAINED
from lib.settings import load_info
from lib.simulation import whole_scans
from lib.simulation.line_plot import line_plot
from lib.simulation.whole_scans import Replay, Step, means, steps_of
from lib.storage.atomic import write_atomically, write_json
from lib.training.data_split import held_out
from lib.training.recipe_candidates import SCANS_FILE

GRID = Acquisition(shape=(12, 96, 96), spacing=(5.0, 4.0, 4.0))


def test_each_patient_is_left_out_and_the_next_ones_are_labelled():
    steps = list(steps_of(["A", "B", "C"], [1, 2, 5]))
    assert steps[:3] == [Step("A", ("B",)), Step("B", ("C",)), Step("C", ("A",))]
    assert steps[3:] == [Step("A", ("B", "C")), Step("B", ("C", "A")), Step("C", ("A", "B"))]


def test_refused_versions_count_in_the_means_as_the_weights_before():
    def scores(dice, false_findings):
        return {"scores": vars(PatientScores(1, 1, 1, dice, false_findings, 10))}

    before = {"A": scores(0.8, 1), "B": scores(0.6, 3)}
    after = {
        Step("A", ("B",)): scores(0.9, 0) | {"outcome": "kept"},
        Step("B", ("A",)): scores(0.2, 9) | {"outcome": "refused"},
    }
    (found,) = means(before, after)
    assert (found.labelled, found.measured, found.refused) == (1, 2, 1)
    dice = [one.dice for one in (found.before, found.kept, found.in_use)]
    assert dice == pytest.approx([0.7, 0.55, 0.75])
    assert [one.false_positives for one in (found.before, found.kept, found.in_use)] == [2, 4.5, 1.5]


def test_plot_leaves_out_what_is_not_finite_and_has_few_marks():
    nothing = line_plot({"a": [], "b": [(1, math.nan)]}, "", "", y_step=1)
    assert nothing == line_plot({"a": [], "b": []}, "", "", y_step=1)
    assert line_plot({"a": [(0, 0), (1, 9), (2, math.inf)], "b": []}, "", "", y_step=1) == line_plot(
        {"a": [(0, 0), (1, 9)], "b": []}, "", "", y_step=1
    )
    many = line_plot({"a": [(0, 0), (1, 150)]}, "", "", y_step=0.5)
    assert many == line_plot({"a": [(0, 0), (1, 150)]}, "", "", y_step=16)


@pytest.fixture
def arguments(tmp_path, monkeypatch):
    """Return the options for three phantoms, one of which the weights were trained on."""
    info = load_info()
    info["network"]["channels"] = [4, 8]
    info["preprocessing"] |= {"size": [64, 64]}
    info["config"]["train"] |= {"patch_size": 32, "patches_per_volume": 4, "max_epochs": 1}
    monkeypatch.setattr(simulate_whole_scans, "load_info", lambda: info)
    for name in ("A", "B", "Seen"):
        hu, mask, affine = chest_volume(len(name), lesions=draw_lesions(1, 5, diameters=(20, 40)), acquisition=GRID)
        for folder, values in (("images", hu), ("masks", mask)):
            (tmp_path / folder).mkdir(exist_ok=True)
            write_volume(tmp_path / folder / f"{name}.nii.gz", values, affine)
    torch.manual_seed(0)
    torch.save({"model": AttentionResidualUNet(**info["network"]).state_dict()}, tmp_path / "weights.pt")
    (tmp_path / "weights.json").write_text(json.dumps({"trained_on": ["Seen"]}))
    parser = argparse.ArgumentParser()
    simulate.add_arguments(parser)
    options = {"images": "images", "masks": "masks", "weights": "weights.pt", "output": "out"}
    line = [word for name, value in options.items() for word in (f"--{name}", str(tmp_path / value))]
    return parser.parse_args(["--whole-scans", *line])


def test_replay_resumes_and_measures_only_unseen_patients(arguments, capsys, monkeypatch):
    assert simulate.run(arguments) == 0
    runs = sorted(path.name for path in (arguments.output / "runs").iterdir())
    assert runs == ["A-0.json", "A-1.json", "B-0.json", "B-1.json"]
    text = (arguments.output / "table.md").read_text()
    assert "| A | B | " in text and "| B | A | " in text and "Seen" not in text
    assert "| 1 | " in text and text in capsys.readouterr().out
    assert Image.open(arguments.output / "curve.png").size == (1520, 420)
    monkeypatch.setattr(Replay, "after", lambda self, step: pytest.fail("repeated"))
    assert simulate.run(arguments) == 0
    arguments.weights.write_bytes(arguments.weights.read_bytes() + b"changed")
    with pytest.raises(UserError, match="is of other weights or settings"):
        simulate.run(arguments)
    (arguments.weights.parent / "weights.json").write_text(json.dumps({"trained_on": ["Seen", "A"]}))
    with pytest.raises(UserError, match="was trained on all but 1 of these patients"):
        simulate.run(arguments)


@pytest.mark.parametrize("labels", [[2, 3], [0, 1], [-1]])
def test_labels_that_leave_nobody_to_train_on_or_to_measure_are_refused_first(labels, arguments, monkeypatch):
    arguments.labels = labels
    monkeypatch.setattr(Replay, "before", lambda self, patient: pytest.fail("measured"))
    with pytest.raises(UserError, match=r"--labels must be at least 1, and smaller than .* 2\."):
        simulate.run(arguments)


def test_each_patient_is_measured_with_the_second_stage_that_left_it_out(arguments, monkeypatch, tmp_path):
    arguments.second_stages = tmp_path / "candidates"
    rows = [{"patient": "A", "fold": "a"}, {"patient": "B", "fold": "b"}]
    for number, row in enumerate(rows):
        (arguments.second_stages / row["fold"]).mkdir(parents=True)
        judge = CandidateJudge(new_classifier(), intercept=number)
        write_atomically(arguments.second_stages / row["fold"] / CLASSIFIER_FILE, judge.save)
    write_json(arguments.second_stages / SCANS_FILE, {"scans": rows[:1]})
    with pytest.raises(UserError, match=r"No second stage in .* left out B"):
        simulate.run(arguments)
    write_json(arguments.second_stages / SCANS_FILE, {"scans": rows})
    used = []

    def measured(weights, folds, cases, model):
        used.append((next(iter(folds)), model.judge.intercept))
        return {patient: PatientScores(1, 1, 1, 0.5, 0, 10) for patient in folds}

    monkeypatch.setattr(whole_scans, "measure", measured)
    assert simulate.run(arguments) == 0
    assert used == [("A", 0), ("B", 1)] * 2


def test_rounds_without_new_labels_change_nothing_and_are_measured_elsewhere(arguments, tmp_path, monkeypatch):
    hold_out = next(name for name in map(str, range(99)) if held_out(name))
    for kind in ("images", "masks"):
        (tmp_path / f"crops-{kind}").mkdir()
        shutil.copy(tmp_path / kind / "Seen.nii.gz", tmp_path / f"crops-{kind}" / f"{hold_out}_1.nii.gz")
    arguments.elsewhere_images, arguments.elsewhere_masks = [tmp_path / "crops-images"], [tmp_path / "crops-masks"]
    arguments.rounds = 3
    manifest = arguments.weights.parent / "weights.json"
    trained_on = manifest.read_text()
    manifest.write_text(json.dumps({"trained_on": ["Seen", hold_out]}))
    with pytest.raises(UserError, match="unknown to --weights and --images"):
        simulate.run(arguments)
    manifest.write_text(trained_on)
    assert simulate.run(arguments) == 0
    rows = (arguments.output / "rounds.md").read_text().splitlines()[2:]
    assert [row.split(" | ")[:2] for row in rows] == [["| 0", "0"], ["| 1", "1"], ["| 2", "2"], ["| 3", "2"]]
    assert rows[2].split(" | ")[2:] == rows[3].split(" | ")[2:]
    store = ModelStore(arguments.output / "workspace", arguments.weights)
    versions = store.manifests()
    assert [one["parent"] for one in versions] == [PRETRAINED, *[one["version"] for one in versions[:-1]]]
    first, second, third = (state_of(read_weights(store.weights(one["version"]))) for one in versions)
    assert all(torch.equal(second[name], third[name]) for name in second)
    assert not all(torch.equal(first[name], second[name]) for name in first)


def test_key_of_a_plot_covers_no_line():
    falling = [(0, 2), (3, 0.1), (4, 0.1)]
    one, other = (line_plot({name: falling}, "", "", y_step=0.5) for name in ("first", "second"))
    right, left = (380, 200, 760, 370), (80, 200, 380, 370)
    assert one.crop(right) == other.crop(right)
    assert one.crop(left) != other.crop(left)
