"""The second stage learns with the network: what it learns from, without which patients, and which of both is used."""

import dataclasses
import io
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from fastapi import UploadFile
from monailabel.endpoints.user.auth import User

from lib.errors import UserError
from lib.inference import ModelDescription, Predictor, WeightsFile
from lib.inference.candidate_judge import CLASSIFIER_ENTRY, CandidateJudge, judge_in, new_classifier
from lib.inference.finite import NotFiniteError
from lib.inference.kept_outputs import KeepingPredictor
from lib.networks import AttentionResidualUNet
from lib.networks.weights import state_of
from lib.phantoms import Acquisition, chest_volume, write_volume
from lib.publishing import ModelStore
from lib.publishing.adoption import adopt
from lib.publishing.folds import Folds
from lib.publishing.gate import PatientScores, Rule
from lib.publishing.measurement import unseen
from lib.server.model_routes import model_router
from lib.settings import load_info
from lib.storage.integrity import DamagedFileError
from lib.trainers import LungTumorTrainTask, second_stage
from lib.trainers.candidate import Candidate, parts_of
from lib.trainers.comparison import compare_variants
from lib.trainers.second_stage import LabelledCandidates, candidate_predictors, tune_judges, variants_of
from lib.trainers.start_weights import StartWeights, save
from lib.trainers.unfinished_run import UnfinishedRun
from tests.support.candidates import judge, samples
from tests.support.train_task import Labelled, labelled_chests

RULE = Rule(error=0.05, false_finding_weight=0.02, dice_margin=0.005, collapse=0.2)


def test_a_judge_learns_and_is_calibrated_without_the_patients_of_its_fold(monkeypatch):
    learned, calibrated_on = {}, {}
    scans = [LabelledCandidates(name, samples(1, 2, seed)) for seed, name in enumerate("ABC")]
    of = {id(scan.samples): scan.patient for scan in scans}

    def tune(start, own, **_):
        learned[start.slope] = {of[id(one)] for one in own}
        return CandidateJudge(start.network, start.slope)

    monkeypatch.setattr(second_stage, "tune_judge", tune)
    monkeypatch.setattr(second_stage, "scan_logits", lambda judge, one: (judge.slope, of[id(one)]))
    monkeypatch.setattr(
        second_stage, "recalibrated", lambda judge, logits: calibrated_on.update({judge.slope: set(logits)}) or judge
    )
    parts = parts_of("ABC", {"A": 0, "B": 1})  # C is in no fold
    starts = {0: CandidateJudge(new_classifier(), 10), 1: CandidateJudge(new_classifier(), 11)}
    starts[None] = CandidateJudge(new_classifier(), 12)
    judges = tune_judges(starts, scans, parts, steps=1, seed=0)
    monkeypatch.setattr(second_stage, "tune_judge", lambda start, own, **_: start if len(own) < 3 else judge())
    assert tune_judges(starts, scans, parts, steps=1, seed=0) == {}, "a fold that learns nothing"
    assert judges.keys() == {0, 1, None}
    assert learned == {10: {"B", "C"}, 11: {"A", "C"}, 12: {"A", "B", "C"}}
    assert calibrated_on == {10: {(11, "B")}, 11: {(10, "A")}, 12: {(10, "A"), (11, "B")}}
    monkeypatch.setattr(second_stage, "tune_judge", tune)
    starts[None] = CandidateJudge(new_classifier(), 12, trained_on=["A", "Somebody"])
    tune_judges(starts, scans, parts, steps=1, seed=0)
    assert calibrated_on[12] == {(11, "B")}, "on a patient that the judge in use was trained on"


@pytest.fixture
def info():
    """Return the app's settings with a tiny network."""
    info = load_info()
    info["network"]["channels"] = [4, 8]
    info["preprocessing"]["size"] = [64, 64]
    info["config"]["train"] |= {"patch_size": 32, "patches_per_volume": 4, "max_epochs": 1, "second_stage_steps": 2}
    return info


def network_file(info, path, seed, own=None):
    torch.manual_seed(seed)
    return save(AttentionResidualUNet(**info["network"]).state_dict(), path, own)


def first_value(path):
    return next(iter(state_of(path.read_bytes()).values())).flatten()[0].item()


def slope(path):
    own = judge_in(path.read_bytes(), "")
    return own and own.slope


def test_variants_are_both_stages_and_each_alone(info, tmp_path):
    store = ModelStore(tmp_path / "models", network_file(info, tmp_path / "shipped.pt", 0))
    start = StartWeights(store, AttentionResidualUNet(**info["network"]))
    all_, fold = (network_file(info, tmp_path / f"{seed}.pt", seed) for seed in (1, 2))
    candidate = Candidate(all_, {0: fold}, {"A": 0}, {"A": 0})
    judges = {None: CandidateJudge(new_classifier(), 7), 0: CandidateJudge(new_classifier(), 8)}
    variants = variants_of(candidate, judges, start, tmp_path).by_name()
    assert list(variants) == ["network and second stage", "network", "second stage"]
    both, network, judged = variants.values()
    assert [first_value(one.weights) for one in (both, network, judged)] == [
        first_value(path) for path in (all_, all_, tmp_path / "shipped.pt")
    ]
    assert [slope(one.weights) for one in (both, network, judged)] == [7, None, 7]
    assert [slope(one.fold_weights[0]) for one in (both, network, judged)] == [8, None, 8]
    assert first_value(both.fold_weights[0]) == first_value(fold)
    assert all(one.measured == {"A": 0} for one in variants.values())


def test_outputs_are_kept_of_patients_that_are_measured_only(info, tmp_path):
    all_, fold, start = (network_file(info, tmp_path / f"{seed}.pt", seed) for seed in (1, 2, 3))
    candidate = Candidate(all_, {0: fold}, {"A": 0, "B": 1}, {"A": 0})
    of = candidate_predictors(candidate, start, ModelDescription.from_info(info), tmp_path / "outputs")
    assert [(type(of(patient)), of(patient).weights.current().path) for patient in "ABC"] == [
        (KeepingPredictor, fold),
        (Predictor, start),
        (Predictor, start),
    ]


def scores(dice, false_findings=1.0, count=10):
    return {f"P{number}": PatientScores(1, 1, 1, dice, false_findings, 1000) for number in range(count)}


@pytest.mark.parametrize(
    ("dice", "best", "outcome"),
    [
        ({"both": 0.84, "network": 0.83, "second": 0.82}, "both", "in use"),
        ({"both": 0.84, "network": 0.86, "second": 0.82}, "network", "in use"),
        ({"both": 0.5, "network": 0.5, "second": 0.82}, "second", "in use"),
        ({"both": 0.5, "network": 0.798, "second": 0.5}, "network", "kept"),
        ({"both": 0.7, "network": 0.5, "second": float("nan")}, "both", "refused"),
        ({"both": 0.8, "network": 0.8, "second": 0.8}, "both", "kept"),
    ],
)
def test_the_best_variant_that_passes_is_chosen(info, tmp_path, dice, best, outcome):
    store = ModelStore(tmp_path, network_file(info, tmp_path / "shipped.pt", 0))
    folds = {f"P{number}": 0 for number in range(10)}
    variants = {name: Candidate(Path(name), {0: Path(name)}, folds, folds) for name in dice}
    measured = []

    def measure(weights, judges):
        path = weights[0].current().path if isinstance(weights[0], WeightsFile) else None
        measured.append(path)
        return scores(dice[path.name] if path else 0.8)

    _, name, verdict = compare_variants(store, variants, measure, RULE, "")
    assert (name, verdict.outcome) == (best, outcome)
    assert len(measured) == 4, "the version in use is measured once"


def test_all_verdicts_together_keep_the_error_of_the_rule(info, tmp_path):
    """With seven patients, the smallest p is 0.008: enough for the first variant, not for one of the others."""
    store = ModelStore(tmp_path, network_file(info, tmp_path / "shipped.pt", 0))
    folds = {f"P{number}": 0 for number in range(7)}
    variants = {name: Candidate(Path(name), {0: Path(name)}, folds, folds) for name in ("both", "network", "second")}

    def outcome(better):
        def measure(weights, judges):
            path = weights[0].current().path if isinstance(weights[0], WeightsFile) else Path()
            return scores(0.85 if path.name == better else 0.8, count=7)

        return compare_variants(store, variants, measure, RULE, "")[1:]

    assert outcome("both")[1].publish
    name, verdict = outcome("network")
    assert (name, verdict.outcome) == ("network", "kept")


def test_without_a_measurement_the_second_stage_stays(info, tmp_path):
    store = ModelStore(tmp_path, network_file(info, tmp_path / "shipped.pt", 0))
    variants = {name: Candidate(Path(name), {}, {}, {}) for name in ("network and second stage", "network")}
    _, name, verdict = compare_variants(store, variants, lambda *_: scores(0.9), RULE, "one patient is labelled")
    assert name == "network"
    assert not verdict.publish and "one patient is labelled" in verdict.reason


def test_weights_with_a_second_stage_of_their_own_are_judged_by_it(info, tmp_path):
    hu, _, affine = chest_volume(1, acquisition=Acquisition(shape=(12, 96, 96), spacing=(5.0, 4.0, 4.0)))
    image = write_volume(tmp_path / "1.nrrd", hu, affine)
    of_model, own = judge(), judge(1)
    model = dataclasses.replace(ModelDescription.from_info(info), judge=of_model)
    files = [network_file(info, tmp_path / f"{name}.pt", 3, one) for name, one in (("a", None), ("b", own))]
    runs, passes = [], []
    for file in files:
        predictor = KeepingPredictor(model, WeightsFile(file), tmp_path / "outputs")
        predictor.load().network.register_forward_hook(lambda *_: passes.append(1))
        runs.append(predictor.run(predictor.read({"image": image}), model.options))
    assert runs[0].judge is of_model
    assert runs[1].judge.slope == own.slope and runs[1].judge is not of_model
    assert torch.equal(runs[0].logits, runs[1].logits)
    before = len(passes)
    predictor.run(predictor.read({"image": image}), model.options)
    assert len(passes) == before > 0, "the same network runs once for an image"
    exact = Predictor(model, WeightsFile(files[0])).run(predictor.read({"image": image}), model.options).logits
    torch.testing.assert_close(runs[0].logits, exact.clamp(min=-8), atol=0.01, rtol=0.001)


def test_damaged_second_stage_is_reported(info, tmp_path):
    path = network_file(info, tmp_path / "a.pt", 0)
    torch.save({"model": state_of(path.read_bytes()), CLASSIFIER_ENTRY: {"model": {}}}, path)
    with pytest.raises(UserError, match="classifier of findings in the weights"):
        Predictor.from_file(path, ModelDescription.from_info(info))


def not_finite(content):
    name, value = next((name, value) for name, value in content["model"].items() if value.is_floating_point())
    return content | {"model": content["model"] | {name: value * float("nan")}}


@pytest.mark.parametrize(
    "changed",
    [
        lambda content: torch.zeros(3),
        lambda content: content | {"slope": float("nan")},
        lambda content: content | {"intercept": 10**400},
        lambda content: content | {"operating_points": [[0.5, float("inf")]]},
        not_finite,
    ],
)
def test_unusable_second_stage_is_refused_when_weights_are_uploaded(info, tmp_path, changed):
    path = network_file(info, tmp_path / "a.pt", 0)
    torch.save({"model": state_of(path.read_bytes()), CLASSIFIER_ENTRY: changed(judge().content())}, path)
    with pytest.raises(UserError, match="classifier of findings in the weights in the file cannot be used"):
        judge_in(path.read_bytes(), "in the file")


def test_uploaded_copy_of_a_version_is_not_measured_on_patients_it_was_trained_on(info, tmp_path):
    """Otherwise it would seem better than any version that is measured without each patient."""
    store = ModelStore(tmp_path / "models", network_file(info, tmp_path / "shipped.pt", 0))
    trained, other = (network_file(info, tmp_path / f"{seed}.pt", seed) for seed in (1, 2))
    store.keep(trained, {"trained_on": ["A"], "folds": {"A": 0, "B": 1}}, {0: other})
    network = AttentionResidualUNet(**info["network"])
    app = SimpleNamespace(
        configs={"lung_tumor": SimpleNamespace(network=network, store=store)}, uploads_dir=tmp_path / "uploads"
    )
    (upload,) = (one.endpoint for one in model_router(app).routes if one.name == "upload")

    def measured_on(path):
        file = UploadFile(io.BytesIO(path.read_bytes()), filename="model.pt")
        version = upload("lung_tumor", file=file, user=User(username="u"))["version"]
        return unseen(store.manifest(version), store.fold_weights(version), {"A": 0, "B": 1}).keys()

    assert measured_on(trained) == {"B"}
    assert measured_on(other) == {"A", "B"}, "of these weights nothing is known"


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return labelled_chests(tmp_path_factory.mktemp("labelled"), (1, 2, 3), lesions=3)


class Reviewed(Labelled):
    """Labelled images, of the first of which one finding was rejected."""

    def __init__(self, cases):
        super().__init__(cases)
        self.asked = []

    def rejected(self, image_id):
        self.asked.append(image_id)
        return [(40, 40, 5)] if image_id == "1.2.1" else []


def test_a_training_teaches_the_second_stage_too_and_a_version_has_it_for_good(info, cases, tmp_path, monkeypatch):
    """What it learns is replaced here, since an untrained network marks no lesions."""
    scans = []

    def learned(starts, found, parts, **_):
        scans.extend(found)
        return {part.fold: CandidateJudge(new_classifier(), 7) for part in parts}

    def measured(weights, *_, **__):
        new = all(
            isinstance(one, WeightsFile) and one.current().path.name.startswith("both") for one in weights.values()
        )
        return scores(0.9 if new else 0.8)

    monkeypatch.setattr("lib.trainers.conclusion.tune_judges", learned)
    monkeypatch.setattr("lib.trainers.conclusion.measure", measured)
    shipped = network_file(info, tmp_path / "shipped.pt", 0)
    store = ModelStore(tmp_path / "models", shipped)
    model = dataclasses.replace(ModelDescription.from_info(info), judge=judge())
    folds, unfinished = Folds(tmp_path / "folds.json"), UnfinishedRun(tmp_path / "training.json")
    train = LungTumorTrainTask(str(tmp_path / "task"), model, info, store, folds, unfinished)
    labelled = Reviewed(cases)
    version = train({"model": "lung_tumor", "device": "cpu"}, labelled)["version"]
    assert labelled.asked == [scan.patient for scan in scans] == ["1.2.1", "1.2.2", "1.2.3"]
    (manifest,) = store.manifests()
    assert (manifest["learned"], manifest["verdict"]["outcome"]) == ("network and second stage", "in use")
    start = StartWeights(store, train._network)
    assert [start.in_use.judge(fold).slope for fold in (None, 0, 1, 2)] == [7, 7, 7, 7]

    other = ModelStore(tmp_path / "other", shipped)
    assert adopt(other, tmp_path / "models").adopted == [version]
    other.serve(version)
    assert StartWeights(other, train._network).in_use.judge(None).slope == 7

    store.serve("pretrained")
    assert StartWeights(store, train._network).in_use.judge(None) is None
    shutil.copy(store.weights(version), damaged := tmp_path / "damaged.pt")
    damaged.write_bytes(damaged.read_bytes()[:-1000])
    shutil.copy(damaged, store.weights(version))
    with pytest.raises(DamagedFileError):
        store.serve(version)


def test_a_network_whose_output_is_not_finite_is_kept_and_refused(info, cases, tmp_path, monkeypatch):
    def fails(*_, **__):
        raise NotFiniteError("the network")

    monkeypatch.setattr("lib.trainers.conclusion.labelled_candidates", fails)
    monkeypatch.setattr("lib.trainers.conclusion.measure", lambda weights, *_, **__: scores(float("nan")))
    store = ModelStore(tmp_path / "models", network_file(info, tmp_path / "shipped.pt", 0))
    model = dataclasses.replace(ModelDescription.from_info(info), judge=judge())
    folds, unfinished = Folds(tmp_path / "folds.json"), UnfinishedRun(tmp_path / "training.json")
    train = LungTumorTrainTask(str(tmp_path / "task"), model, info, store, folds, unfinished)
    stats = train({"model": "lung_tumor", "device": "cpu"}, Reviewed(cases))
    assert stats["verdict"]["outcome"] == "refused"
    assert [one["version"] for one in store.manifests()] == [stats["version"]]
