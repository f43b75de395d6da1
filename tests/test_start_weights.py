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
    assert (value_of(start.state), value_of(start.in_use(None)), value_of(start.in_use(0))) == (1, 3, 13)
    assert start.manifest["trained_on"] == ["P"] and start.origin_manifest is None


def test_uploaded_weights_are_an_origin_and_a_damaged_one_is_replaced_by_the_version_in_use(network, weights, tmp_path):
    store = ModelStore(tmp_path / "models", weights(1))
    uploaded = store.keep(weights(2), {"uploaded_by": "anna"})
    store.serve(uploaded)
    trained = store.keep(weights(3), {"run": "run-3"})
    store.serve(trained)
    assert store.origin(trained) == uploaded
    assert value_of(StartWeights(store, network).state) == 2
    store.weights(uploaded).write_bytes(b"damaged")
    assert ModelStore(store.folder, weights(1)).origin(trained) == trained


def test_without_shipped_weights_the_first_training_is_the_origin(network, weights, tmp_path):
    store = ModelStore(tmp_path / "models", tmp_path / PRETRAINED_FILE)
    versions = []
    for value in (1, 2, 3):
        versions.append(store.keep(weights(value), {"run": f"run-{value}"}))
        store.serve(versions[-1])
    assert [store.origin(version) for version in versions] == [versions[0]] * 3
    assert StartWeights(store, network, pretrained=False).version is None


def test_more_patients_weigh_more():
    shares = [trained_share(patients, 4) for patients in (1, 4, 36)]
    assert shares == [0.2, 0.5, 0.9] and trained_share(3, 0) == 1
