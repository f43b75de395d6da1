"""The predictor shared by the server and the commands; weights are reloaded only when they change."""

import dataclasses

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from lib.activelearning.score import ScoreRequest
from lib.activelearning.uncertainty_scoring import UncertaintyScoring
from lib.errors import UserError
from lib.geometry.connected_components import connected_components
from lib.inference import ModelDescription, Predictor, WeightsContent, WeightsFile
from lib.inference.finite import NotFiniteError
from lib.infers import LungTumorInferTask
from lib.phantoms import Acquisition, chest_volume, draw_lesions, write_volume
from lib.publishing.serving_weights import ServingWeights
from tests.support.small_network import infer_task, serving_predictor

REQUEST = {"device": "cpu", "result_extension": ".nrrd", "logging": "WARNING"}
KEEP_ALL = {"min_diameter_mm": 0.0}


@pytest.fixture
def chest(request, tmp_path):
    plane = getattr(request, "param", "head_first_supine")
    grid = Acquisition(shape=(16, 64, 72), spacing=(8.0, 5.0, 5.2), plane=plane)
    hu, _, affine = chest_volume(3, lesions=draw_lesions(3, 2, diameters=(30, 36)), acquisition=grid)
    return write_volume(tmp_path / "chest.nrrd", hu, affine)


@pytest.fixture
def serving(store):
    """Return the weights file of the version in use."""
    store.serve(store.manifests()[0]["version"])
    return store.serving_weights()


@pytest.fixture
def marking(info, serving, chest):
    """Return settings with which the untrained network marks a part of the chest, without filters."""
    predictor = Predictor.from_file(serving, ModelDescription.from_info(info))
    data = predictor.read({"image": chest})
    first, last = data["lung_slices"]
    probability = predictor.run(data).logits[..., first:last].sigmoid()
    info["config"]["infer"] |= KEEP_ALL | {"threshold": float(probability.flatten()[::7].quantile(0.9))}
    return info


@pytest.mark.parametrize("crf", [False, True])
def test_server_and_command_make_the_same_mask(marking, store, serving, chest, crf):
    info = marking
    info["config"]["infer"] |= {"crf": crf, "crf_max_voxels": 5000}
    file, _ = infer_task(info, store)({**REQUEST, "image": str(chest)})
    served = sitk.GetArrayFromImage(sitk.ReadImage(file)).transpose()
    predictor = Predictor.from_file(serving, ModelDescription.from_info(info))
    mask = predictor.predict(chest)
    assert 0 < mask.sum() < mask.size
    np.testing.assert_array_equal(mask, served)
    content = Predictor(predictor.model, WeightsContent(serving.read_bytes(), "1"))
    np.testing.assert_array_equal(content.predict(chest), mask)


def test_variants_equal_separate_runs(marking, serving, chest):
    predictor = Predictor.from_file(serving, ModelDescription.from_info(marking))
    options = predictor.model.options
    variants = [options, options.model_copy(update={"min_diameter_mm": 1000.0}), options]
    masks = [prediction.mask for prediction in predictor.predict_variants(chest, variants)]
    for mask, variant in zip(masks, variants, strict=True):
        np.testing.assert_array_equal(mask, predictor.predict(chest, variant))
    assert masks[0].any()
    assert (masks[0] == masks[2]).all()


def test_identity_change_gives_the_same_mask(marking, serving, chest):
    predictor = Predictor.from_file(serving, ModelDescription.from_info(marking))
    options = predictor.model.options
    assert predictor.predict(chest).any()
    (changed,) = predictor.predict_variants(chest, [options], lambda volume: volume.clone())
    np.testing.assert_array_equal(changed.mask, predictor.predict(chest))


def test_weights_are_reloaded_only_when_they_change(info, store, serving):
    predictor = serving_predictor(info, store)
    first = predictor.load("cpu")
    assert predictor.load("cpu") is first
    assert not first.network.training
    assert str(first.weights) == f"version {store.serving_version()} of the model"
    store.serve(store.manifests()[1]["version"])
    second = predictor.load("cpu")
    assert second.weights.version == store.serving_version()
    assert not torch.equal(first.network.head.conv.weight, second.network.head.conv.weight)


class NumberedJudge:
    """Judge that gives the candidates confidences from 0.1 to 0.9 in their order."""

    def __call__(self, image, candidates):
        return np.linspace(0.1, 0.9, candidates.count)

    def min_confidence(self, false_findings_per_scan):
        return 0.0 if false_findings_per_scan else 0.5


@pytest.mark.parametrize("chest", ["head_first_supine", "feet_first_supine"], indirect=True)
def test_server_returns_a_finding_with_its_confidence_for_each_component(marking, store, serving, chest, tmp_path):
    model = dataclasses.replace(ModelDescription.from_info(marking), judge=NumberedJudge())
    task = LungTumorInferTask(Predictor(model, ServingWeights(store)), marking, tmp_path / "results")

    def run(limit):
        file, params = task({**REQUEST, "image": str(chest), "false_findings_per_scan": limit})
        components, count = connected_components(sitk.GetArrayFromImage(sitk.ReadImage(file)).transpose())
        findings = params["findings"]
        assert sorted(components[tuple(one["voxel"])] for one in findings) == list(range(1, count + 1))
        return [one["confidence"] for one in findings]

    every = run(1.0)
    assert len(every) > 1 and every == sorted(every, reverse=True)
    assert 0 < len(run(0.0)) < len(every)


def test_any_network_can_be_described(info, serving, chest):
    class Dense(torch.nn.Module):
        """Marks voxels denser than -300 HU."""

        stride = 16

        def __init__(self):
            super().__init__()
            self.level = torch.nn.Parameter(torch.tensor(-300.0))

        def forward(self, image, return_attention=False):
            middle = image.shape[1] // 2
            scale = info["preprocessing"]
            hu = image[:, middle : middle + 1] * scale["hu_std"] + scale["hu_mean"]
            logits = (hu - self.level) / 50
            return (logits, []) if return_attention else logits

    info["config"]["infer"] |= KEEP_ALL
    model = dataclasses.replace(ModelDescription.from_info(info), network=Dense)
    weights = serving.with_name("dense.pt")
    torch.save(Dense().state_dict(), weights)
    assert Predictor(model, WeightsFile(weights)).predict(chest).any()
    with pytest.raises(UserError, match="do not match the network"):
        Predictor.from_file(serving, model)


def test_non_finite_output_is_an_error(info, tmp_path, chest):
    model = ModelDescription.from_info(info)
    network = model.network()
    torch.nn.init.constant_(network.head.conv.bias, float("nan"))
    torch.save(network.state_dict(), tmp_path / "nan.pt")
    with pytest.raises(NotFiniteError):
        Predictor.from_file(tmp_path / "nan.pt", model).predict(chest)


def test_scoring_uses_the_views_of_inference(info, store, serving, chest, tmp_path):
    """Scoring used one view whatever ``views`` was."""
    found, passes = {}, {}
    for views in (1, 4):
        info["config"]["infer"]["views"] = views
        predictor, count = serving_predictor(info, store), []
        scoring = UncertaintyScoring(
            "uncertainty",
            predictor,
            store,
            tmp_path,
            max_images=1,
            before_each_batch=lambda count=count: count.append(1),
        )
        request = ScoreRequest("uncertainty", chest, None, None, scoring._options)
        found[views] = scoring._compute(request, "").uncertainty
        passes[views] = len(count)
    assert passes[4] > passes[1]
    assert found[4] != found[1]
