"""What trainings start from: the origin of the version in use, not that version."""

import pytest
import torch

from lib.networks import AttentionResidualUNet
from lib.publishing import ModelStore
from lib.publishing.version_files import PRETRAINED, PRETRAINED_FILE
from lib.settings import load_info
from lib.trainers.start_weights import StartWeights, trained_share


@pytest.fixture
def network():
    info = load_info()
    return AttentionResidualUNet(**info["network"] | {"channels": [4, 8]})


@pytest.fixture
def weights(network, tmp_path):
    """Return a function that writes weights of the value of a seed, and returns their file."""

    def write(value):
        state = {name: torch.full_like(one, value) for name, one in network.state_dict().items()}
        torch.save({"model": state}, tmp_path / f"{value}.pt")
        return tmp_path / f"{value}.pt"

    return write


def value_of(state):
    return next(iter(state.values())).flatten()[0].item()


def test_training_starts_from_the_shipped_weights_however_many_were_before(network, weights, tmp_path):
    store = ModelStore(tmp_path / "models", weights(1))
    for value in (2, 3):
        store.serve(store.keep(weights(value), {"run": f"run-{value}", "trained_on": ["P"]}, {0: weights(value + 10)}))
    start = StartWeights(store, network)
    assert store.origin(start.version) == PRETRAINED
    assert tuple(value_of(one) for one in (start.origin.state(0), start.in_use.state(None), start.in_use.state(0))) == (
        1,
        3,
        13,
    )
    assert start.in_use.manifest["trained_on"] == ["P"] and start.origin.manifest is None


def test_uploaded_weights_are_an_origin_and_a_damaged_one_is_replaced_by_the_version_in_use(network, weights, tmp_path):
    store = ModelStore(tmp_path / "models", weights(1))
    uploaded = store.keep(weights(2), {"uploaded_by": "anna"})
    store.serve(uploaded)
    trained = store.keep(weights(3), {"run": "run-3"})
    store.serve(trained)
    assert store.origin(trained) == uploaded
    assert value_of(StartWeights(store, network).origin.state(None)) == 2
    store.weights(uploaded).write_bytes(b"damaged")
    assert ModelStore(store.folder, weights(1)).origin(trained) == trained


def test_patients_whom_the_version_in_use_has_seen_do_not_judge(network, weights, tmp_path):
    """Its weights of a fold are those of all patients if it has none of the fold."""
    store = ModelStore(tmp_path / "models", weights(1))
    facts = {"run": "run-2", "trained_on": ["P", "Q"], "folds": {"P": 0, "Q": 1}}
    store.serve(store.keep(weights(2), facts, {1: weights(3)}))
    assert StartWeights(store, network).usable({"P": 0, "Q": 1, "R": 0}) == {"Q": 1, "R": 0}


def test_origin_of_another_network_is_replaced_by_the_version_in_use(network, weights, tmp_path):
    torch.save({"model": AttentionResidualUNet(**load_info()["network"]).state_dict()}, tmp_path / "other.pt")
    store = ModelStore(tmp_path / "models", tmp_path / "other.pt")
    store.serve(store.keep(weights(2), {"run": "run-2", "parent": PRETRAINED}))
    assert value_of(StartWeights(store, network).origin.state(None)) == 2


def test_adopted_version_is_an_origin(network, weights, tmp_path):
    store = ModelStore(tmp_path / "models", weights(1))
    store.serve(store.keep(weights(2), {"run": "run-2", "parent": PRETRAINED, "adopted_from": "elsewhere"}))
    assert value_of(StartWeights(store, network).origin.state(None)) == 2


def test_without_shipped_weights_the_first_training_is_the_origin(network, weights, tmp_path):
    store = ModelStore(tmp_path / "models", tmp_path / PRETRAINED_FILE)
    versions = []
    for value in (1, 2, 3):
        versions.append(store.keep(weights(value), {"run": f"run-{value}"}))
        store.serve(versions[-1])
    assert [store.origin(version) for version in versions] == [versions[0]] * 3
    store.serve(
        store.keep(
            weights(4), {"run": "run-4", "parent": None, "trained_on": ["P"], "folds": {"P": 0}}, {0: weights(5)}
        )
    )
    start = StartWeights(store, network)
    assert value_of(start.origin.state(0)) == 5 and start.usable({"P": 0}) == {"P": 0}
    assert StartWeights(store, network, pretrained=False).version is None


def test_more_patients_weigh_more():
    shares = [trained_share(patients, 4) for patients in (1, 4, 36)]
    assert shares == [0.2, 0.5, 0.9] and trained_share(3, 0) == 1
