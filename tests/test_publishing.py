"""Versions are kept whole and for good; only what is not worse serves."""

import json

import pytest

from lib.publishing import ModelStore
from lib.publishing.gate import Scores, judge

RULE = {"dice_margin": 0.01, "false_positive_margin": 0.5}


def scores(dice: float, false_positives: float) -> Scores:
    return Scores(dice, false_positives, ("1.2.3", "1.2.4"))


@pytest.mark.parametrize(
    ("candidate", "published", "publish", "word"),
    [
        (scores(0.8, 1), scores(0.7, 1), True, "not worse"),
        (scores(0.695, 1), scores(0.7, 1), True, "not worse"),
        (scores(0.68, 1), scores(0.7, 1), False, "outlines tumours worse"),
        (scores(0.9, 3), scores(0.7, 1), False, "no tumour"),
        (
            scores(0.6, 3),
            scores(0.7, 1),
            False,
            "worse than the model in use: Dice lower by more than 0.01, and it marks more",
        ),
        (scores(0.7, 1.5), scores(0.7, 1), True, "not worse"),
        (scores(0.1, 9), None, True, "no model before"),
        (None, scores(0.7, 1), True, "without a comparison"),
    ],
)
def test_the_rule(candidate, published, publish, word):
    verdict = judge(candidate, published, **RULE)
    assert verdict.publish is publish
    assert word in verdict.reason


def test_the_reason_names_the_numbers():
    reason = judge(scores(0.5, 4), scores(0.7, 1), **RULE).reason
    assert "0.500" in reason
    assert "0.700" in reason
    assert "4.0" in reason
    assert "1.0" in reason
    assert "2 scan(s)" in reason


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "candidate.pt"
    path.write_bytes(b"weights")
    return path


def test_a_kept_version_serves_only_when_told_and_the_former_can_serve_again(tmp_path, weights):
    store = ModelStore(tmp_path / "model")
    assert store.serving_version() is None
    first = store.keep(weights, {"note": 1})
    assert store.serving_version() is None
    store.serve(first)
    weights.write_bytes(b"others")
    second = store.keep(weights, {"note": 2})
    assert store.serving_version() == first
    store.serve(second)
    assert store.serving_weights().read_bytes() == b"others"
    store.serve(first)
    assert store.serving_weights().read_bytes() == b"weights"
    assert [manifest["note"] for manifest in store.manifests()] == [1, 2]
    assert store.manifests()[1]["parent"] == first


def test_versions_of_one_moment_stay_apart(tmp_path, weights):
    store = ModelStore(tmp_path / "model")
    versions = {store.keep(weights, {"number": number}) for number in range(30)}
    assert len(versions) == len(store.manifests()) == 30


def test_shipped_weights_serve_first(tmp_path):
    (tmp_path / "pretrained_lung_tumor.pt").write_bytes(b"shipped")
    store = ModelStore(tmp_path)
    assert store.serving_version() == "pretrained"
    assert store.serving_weights().read_bytes() == b"shipped"


@pytest.mark.parametrize("version", ["nonsense", "../../etc", "", "."])
def test_what_is_no_version_cannot_serve(tmp_path, version):
    store = ModelStore(tmp_path)
    with pytest.raises(LookupError, match="no model version"):
        store.serve(version)
    assert not (tmp_path / "serving.json").exists()


def test_a_version_that_vanished_does_not_serve(tmp_path, weights):
    store = ModelStore(tmp_path)
    version = store.keep(weights, {})
    store.serve(version)
    store.weights(version).unlink()
    assert store.serving_weights() is None
    assert json.loads((tmp_path / "serving.json").read_text())["version"] == version
