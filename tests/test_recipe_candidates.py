"""The second stage of a recipe: which network and which fold each scan has, and that it is made once."""

import json
from types import MappingProxyType

import numpy as np
import pytest
from PIL import Image

from lib.errors import UserError
from lib.evaluation.cases import CaseResult
from lib.evaluation.figures import SIDE_PX
from lib.evaluation.metrics import VoxelCounts
from lib.inference.candidate_judge import CLASSIFIER_FILE, CandidateJudge, new_classifier
from lib.phantoms import write_volume
from lib.settings import load_info
from lib.storage.atomic import write_json
from lib.training import recipe_candidates
from lib.training.data_folders import DataFolders
from lib.training.recipe import Candidates, Run
from lib.training.recipe_candidates import SCANS_FILE, left_out_classifiers, train_candidates
from lib.training.run_manifest import FILE, WEIGHTS
from lib.training.run_settings import RunSettings
from lib.training.second_stage import SecondStage

RECIPE = {
    "networks": {"a": "last/a", "b": "last/b"},
    "also_learned": ["first"],
    "scans": [
        {"image": "W1.nii.gz", "mask": "W1-mask.nii.gz", "fold": "a"},
        {"image": "W2.nii.gz", "fold": "b", "ignored": [{"voxel": [1, 2, 3], "radius_mm": 5}]},
        {"image": "healthy.nii.gz"},
    ],
    "nodules": {"images": "crops", "masks": "crops"},
    "copies": {"with_nodules": 3, "nodules": 2},
    "settings": {"steps": 1, "learning_rate": 0.1, "seed": 0},
}
FOLDS = {"first": [], "last/a": ["W1"], "last/b": ["W2"], "last/all": []}


def runs(seen_before):
    return [
        Run(name, DataFolders((), ()), RunSettings(), None, frozenset(patients), frozenset(seen_before.get(name, ())))
        for name, patients in FOLDS.items()
    ]


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Return a function that runs the stage with fake networks and classifiers, and what they were asked for."""
    asked = {"collected": [], "folds": [], "samples": [], "thresholds": [], "nodules": []}
    for name in ("W1", "W2", "healthy"):
        write_volume(tmp_path / f"{name}.nii.gz", np.zeros((4, 4, 4), np.int16), np.eye(4))
    for run in FOLDS:
        (tmp_path / "out" / run).mkdir(parents=True)
        (tmp_path / "out" / run / WEIGHTS).write_text(run)
        write_json(tmp_path / "out" / run / FILE, {"trained_on": []})

    write_volume(tmp_path / "W1-mask.nii.gz", np.ones((4, 4, 4), np.uint8), np.eye(4))
    for crop in ("W1_R", "C1_R"):
        write_volume(tmp_path / "crops" / f"{crop}.nii.gz", np.ones((4, 4, 4), np.uint8), np.eye(4))

    def found(name, patient):
        mask = np.ones((4, 4, 4), np.uint8)
        return CaseResult(name, patient, VoxelCounts.of(mask, mask), [], 0, {}), mask

    def collect(scan, predictor, nodules, *, copies, **_):
        network = scan.weights.parent.relative_to(tmp_path / "out").as_posix()
        asked["collected"].append(
            (scan.name, network, scan.fold, copies.with_nodules, [ball.radius_mm for ball in scan.ignored])
        )
        asked["samples"].append(scan.samples)
        asked["nodules"].append([nodule.patient for nodule in nodules])

    def fit(scans, *, folds, **_):
        asked["folds"].append({name: sorted(patients) for name, patients in folds.items()})
        judges = [CandidateJudge(new_classifier(), intercept=float(number)) for number in range(3)]
        return SecondStage(judges[0], {"a": judges[1], "b": judges[2]}, {})

    monkeypatch.setattr(recipe_candidates, "collect_samples", collect)
    monkeypatch.setattr(recipe_candidates, "train_second_stage", fit)
    monkeypatch.setattr(recipe_candidates, "evaluate_case", lambda name, _, __, patient, *___: found(name, patient))
    monkeypatch.setattr(recipe_candidates, "nodules_in_lung", lambda crops: crops)
    monkeypatch.setattr(
        recipe_candidates.Predictor, "from_file", lambda _, model: asked["thresholds"].append(model.options.threshold)
    )

    def run(recipe=RECIPE, seen_before=MappingProxyType({}), ship="last/all"):
        section = Candidates.model_validate(recipe)
        train_candidates(section, runs(seen_before), tmp_path, tmp_path / "out", load_info(), ship)
        return asked

    return run


def test_each_scan_has_the_network_that_left_its_patient_out(train, tmp_path):
    asked = train()
    assert asked["collected"] == [
        ("W1", "last/a", "a", 3, []),
        ("W2", "last/b", "b", 3, [5.0]),
        ("healthy", "last/a", None, 3, []),
        ("W1", "first", None, 0, []),
        ("W2", "first", None, 0, [5.0]),
        ("healthy", "first", None, 0, []),
    ]
    assert asked["folds"] == [{"a": ["W1"], "b": ["W2"]}]
    for number, run in enumerate(("last/all", "last/a", "last/b")):
        assert CandidateJudge.from_file(tmp_path / "out" / run / CLASSIFIER_FILE).intercept == number


def test_scans_with_a_mask_are_measured_and_drawn(train, tmp_path):
    train()
    results = json.loads((tmp_path / "out" / "candidates" / SCANS_FILE).read_text())
    assert [(row["patient"], row["fold"], row["dice"]) for row in results["scans"]] == [("W1", "a", 1.0)]
    with Image.open(tmp_path / "out" / "candidates" / "found.png") as picture:
        assert picture.width == SIDE_PX


def test_finished_stage_is_skipped_unless_weights_or_recipe_changed(train, tmp_path):
    assert len(train()["folds"]) == 1
    assert len(train()["folds"]) == 1
    (tmp_path / "out" / "last" / "a" / WEIGHTS).write_text("other weights")
    assert len(train()["folds"]) == 2
    assert len(train(RECIPE | {"copies": {"with_nodules": 4, "nodules": 2}})["folds"]) == 3
    made_from = json.loads((tmp_path / "out" / "candidates" / SCANS_FILE).read_text())["made_from"]
    assert made_from["recipe"]["copies"]["with_nodules"] == 4


@pytest.mark.parametrize(
    ("changed", "same"),
    [("W1-mask.nii.gz", 4), ("W2.nii.gz", 4), ("crops/C1_R.nii.gz", 0), ("crops/W1_R.nii.gz", 6)],
)
def test_changed_data_are_learned_again(train, tmp_path, changed, same):
    """Also those that no other stage reads, as a corrected mask of a scan that is only measured."""
    before = set(train()["samples"])
    write_volume(tmp_path / changed, np.full((4, 4, 4), 2, np.uint8), np.eye(4))
    asked = train()
    assert len(asked["folds"]) == (1 if same == 6 else 2)
    assert len(before & set(asked["samples"][-6:])) == same


def test_nodules_of_a_patient_that_is_measured_are_not_learned(train):
    """Set into a copy of another scan, they would be learned by the classifier that leaves the patient out."""
    assert train()["nodules"] == [["C1"]] * 6


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_damaged_results_are_named(train, tmp_path, content):
    train()
    results = tmp_path / "out" / "candidates" / SCANS_FILE
    results.write_text(content)
    for read in (train, lambda: left_out_classifiers(results.parent)):
        with pytest.raises(UserError, match=r"whole_scans.json is damaged .* delete it to train again"):
            read()


def test_scan_that_is_missing_is_named(train, tmp_path):
    (tmp_path / "W2.nii.gz").unlink()
    with pytest.raises(UserError, match=r"candidates: .*W2.nii.gz does not exist"):
        train()


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({"threshold": 0.7}, 0),
        ({"copies": {"with_nodules": 1, "nodules": 2}}, 0),
        ({"settings": {"steps": 1, "learning_rate": 0.1, "seed": 1}}, 0),
        ({"scans": [RECIPE["scans"][0] | {"mask": "other-mask.nii.gz"}, *RECIPE["scans"][1:]]}, 4),
        ({"settings": {"steps": 2, "learning_rate": 0.3, "seed": 0}}, 6),
    ],
)
def test_samples_made_otherwise_are_not_taken_for_those_of_this_recipe(train, tmp_path, changed, same):
    write_volume(tmp_path / "other-mask.nii.gz", np.ones((4, 4, 4), np.uint8), np.eye(4))
    before = set(train()["samples"])
    after = set(train(RECIPE | changed)["samples"][-6:])
    assert len(before) == len(after) == 6
    assert len(before & after) == same


def test_candidates_to_learn_are_marked_from_the_threshold_of_the_recipe(train):
    used = load_info()["config"]["infer"]["threshold"]
    assert used != 0.7
    assert train(RECIPE | {"threshold": 0.7})["thresholds"] == [0.7] * 6 + [used], (
        "what is measured is as on the server"
    )
    assert train()["thresholds"][7:] == [used] * 7


def test_network_that_was_trained_on_the_patient_is_an_error(train, tmp_path):
    write_json(tmp_path / "out" / "last" / "a" / FILE, {"trained_on": ["W1", "W3"]})
    with pytest.raises(UserError, match="last/a is trained on W1"):
        train()
    train(seen_before={"last/a": ["W1"]})


def test_network_without_a_manifest_is_an_error(train, tmp_path):
    (tmp_path / "out" / "last" / "b" / FILE).unlink()
    with pytest.raises(UserError, match=r"model.pt has no manifest"):
        train()


def test_folds_that_share_a_network_keep_a_classifier_each(train, tmp_path):
    train(RECIPE | {"networks": {"a": "first", "b": "first"}}, ship="first")
    assert CandidateJudge.from_file(tmp_path / "out" / "first" / CLASSIFIER_FILE).intercept == 0
    candidates = tmp_path / "out" / "candidates"
    for number, fold in ((1, "a"), (2, "b")):
        assert CandidateJudge.from_file(candidates / fold / CLASSIFIER_FILE).intercept == number
    rows = [{"patient": "W1", "fold": "a"}, {"patient": "W2", "fold": "b"}]
    write_json(candidates / SCANS_FILE, {"scans": rows})
    assert {patient: file.parent.name for patient, file in left_out_classifiers(candidates).items()} == {
        "W1": "a",
        "W2": "b",
    }
    (candidates / "b" / CLASSIFIER_FILE).unlink()
    with pytest.raises(UserError, match=r"b/candidate_classifier.pt does not exist. .* share one network"):
        left_out_classifiers(candidates)
