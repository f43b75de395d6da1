"""The share of the model for whole scans in an outline from clicks."""

import io

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from lib.clicks.automatic import AutomaticModel, combined
from lib.clicks.cube import Cube
from lib.clicks.open_images import OpenImage
from lib.clicks.predictor import ClickPredictor
from lib.clicks.prompts import Prompts
from lib.clicks.surroundings import KeptSurroundings, Surroundings
from lib.inference import ModelDescription, Predictor, WeightsContent, WeightsFile
from lib.inference.gpu_memory import GpuMemoryError
from lib.settings import InferenceOptions, load_info
from tests.support.click_models import BrightModel, bright_predictor, dice, grid_in_order, on_grid, painted

INFO = load_info()
MIDDLE_CHANNEL = INFO["preprocessing"]["slice_offsets_mm"].index(0)
THRESHOLD = INFO["config"]["infer"]["threshold"]


class BrightSlices(nn.Module):
    """Two-dimensional network that marks voxels above a level, +400 HU beyond it if inverted."""

    stride = 16

    def __init__(self, level: float = 0.64):
        super().__init__()
        self.level = nn.Parameter(torch.tensor(level))

    def forward(self, batch, return_attention=False):
        logits = 20 * (batch[:, MIDDLE_CHANNEL : MIDDLE_CHANNEL + 1].float() - self.level)
        return (logits, []) if return_attention else logits


def bright_slices(level: float = 0.64) -> Predictor:
    content = io.BytesIO()
    torch.save(BrightSlices(level).state_dict(), content)
    options = InferenceOptions.model_validate(INFO["config"]["infer"])
    model = ModelDescription(BrightSlices, INFO["preprocessing"], options)
    return Predictor(model, WeightsContent(content.getvalue(), "bright slices"))


def automatic(level: float = 0.64) -> AutomaticModel:
    return AutomaticModel(bright_slices(level))


def without_weights(tmp_path) -> AutomaticModel:
    model = ModelDescription.from_info(INFO)
    return AutomaticModel(Predictor(model, WeightsFile(tmp_path / "missing.pt")))


def voxel_at(grid, point):
    return np.rint(grid.to_index(np.array(point, float))).astype(int).tolist()


@pytest.mark.parametrize(
    ("axes", "flips"),
    [((0, 1, 2), (False, False, False)), ((2, 0, 1), (True, False, True)), ((1, 2, 0), (False, True, True))],
)
@pytest.mark.parametrize("voxel_mm", [0.75, 2.0])
def test_probability_lies_on_the_lesion_in_every_storage_order(axes, flips, voxel_mm):
    image, truth = painted(grid_in_order(axes, flips))
    cube = Cube(np.array([2.0, -1.0, 1.0]), voxel_mm, 32)
    probability = automatic().surroundings(image, cube).sample(cube)
    index = np.moveaxis(image.grid.to_index(cube.points())[..., ::-1], -1, 0)
    expected = ndimage.map_coordinates(truth.astype(float), index, order=1) >= 0.5
    found = dice(probability >= THRESHOLD, expected)
    assert found > 0.8
    assert max(dice(np.flip(probability, axis) >= THRESHOLD, expected) for axis in range(3)) < found - 0.1


def test_first_outline_follows_the_model_for_whole_scans(tmp_path):
    """The model for clicks marks tissue, that for whole scans only a denser core."""
    image, truth = painted(grid_in_order((0, 1, 2), (False, False, False)))
    core = ndimage.binary_erosion(truth, iterations=2)
    image = OpenImage(np.where(core, 350, image.hu).astype(np.int16), image.grid)
    middle = voxel_at(image.grid, (0, 0, 0))
    both = ClickPredictor(BrightModel.from_info(INFO), bright_predictor().weights, automatic(level=2.3))

    def outlined(predictor, **request):
        request = {"foreground": [middle], **request}
        return on_grid(predictor.outline(image, Prompts.from_request(request, image.grid)).region, image.grid)

    alone, first = outlined(bright_predictor()), outlined(both)
    assert dice(first, core) > dice(alone, core) + 0.2
    beside = voxel_at(image.grid, (-9, -9, 0))
    corrected = outlined(both, background=[beside])
    assert dice(corrected, truth) > 0.9, "a user who corrects has the last word"


def test_other_lesions_of_the_model_for_whole_scans_do_not_count():
    clicked, other = np.full((16, 16, 16), 0.1), np.zeros((16, 16, 16))
    clicked[2:6, 2:6, 2:6] = 0.9
    other[2:6, 2:6, 2:6] = other[10:14, 10:14, 10:14] = 0.95
    found = combined(clicked, other, THRESHOLD, np.array([[4, 4, 4]]), 2.0, 0.85) >= 0.5
    assert found[4, 4, 4]
    assert not found[12, 12, 12]


def test_model_that_sees_nothing_at_the_points_does_not_count():
    clicked, other = np.full((16, 16, 16), 0.8), np.zeros((16, 16, 16))
    other[10:14, 10:14, 10:14] = 0.95
    assert combined(clicked, other, THRESHOLD, np.array([[2, 2, 2]]), 2.0, 0.85) is clicked


def test_outline_without_weights_of_the_other_model_is_that_of_clicks_alone(tmp_path, caplog):
    image, truth = painted(grid_in_order((0, 1, 2), (False, False, False)))
    predictor = ClickPredictor(BrightModel.from_info(INFO), bright_predictor().weights, without_weights(tmp_path))
    prompts = Prompts.from_request({"foreground": [voxel_at(image.grid, (0, 0, 0))]}, image.grid)
    assert dice(on_grid(predictor.outline(image, prompts).region, image.grid), truth) > 0.9
    assert "without the model for whole scans" in caplog.text


def test_network_does_not_run_again_for_further_clicks_on_the_lesion():
    image, _ = painted(grid_in_order((0, 1, 2), (False, False, False)))
    predictor = bright_slices()
    passes: list[int] = []
    predictor.load().network.register_forward_hook(lambda *_: passes.append(1))
    model = AutomaticModel(predictor)
    first = model.surroundings(image, Cube(np.zeros(3), 0.75, 32))
    runs = len(passes)
    again = model.surroundings(image, Cube(np.array([3.0, -2.0, 4.0]), 1.0, 32))
    assert len(passes) == runs > 0
    assert first is again
    model.surroundings(image, Cube(np.array([30.0, 0.0, 0.0]), 0.75, 32))
    assert len(passes) > runs, "beyond the surroundings seen before"
    other = OpenImage(image.hu, image.grid)
    runs = len(passes)
    model.surroundings(other, Cube(np.zeros(3), 0.75, 32))
    assert len(passes) > runs, "another image"


def test_answers_are_kept_for_many_lesions_and_by_the_file_not_by_how_often_it_is_opened():
    """Ten readers click in turn, on more images than are open at a time."""
    image, _ = painted(grid_in_order((0, 1, 2), (False, False, False)))
    predictor = bright_slices()
    passes: list[int] = []
    predictor.load().network.register_forward_hook(lambda *_: passes.append(1))
    model, cube = AutomaticModel(predictor), Cube(np.zeros(3), 0.75, 32)
    for number in range(10):
        model.surroundings(OpenImage(image.hu, image.grid, source=number), cube)
    runs = len(passes)
    for number in range(10):
        model.surroundings(OpenImage(image.hu, image.grid, source=number), cube)
    assert len(passes) == runs


def test_kept_answers_are_limited_by_memory():
    image = OpenImage(np.zeros((1, 1, 1), np.int16), grid_in_order((0, 1, 2), (False, False, False)))
    weights = bright_slices().load().weights

    def seen(voxel_mm: float) -> Surroundings:
        cube = Cube(np.zeros(3), voxel_mm, 32)
        return Surroundings(image.source, weights, cube, cube.half_mm, np.zeros((32, 32, 32), np.float32))

    kept = KeptSurroundings(most_bytes=2 * 4 * 32**3)
    first, second, third = map(seen, (1.0, 2.0, 3.0))
    small, middle = Cube(np.zeros(3), 0.9, 32), Cube(np.zeros(3), 1.9, 32)
    kept.add(first)
    kept.add(second)
    assert kept.find(image, weights, small) is first
    kept.add(third)
    assert kept.find(image, weights, middle) is third, "the one used longest ago is dropped"
    assert kept.find(image, weights, small) is first


def test_networks_run_once_to_prepare_many_images():
    """Each user who opens a study prepares it, also while others click."""
    image, _ = painted(grid_in_order((0, 1, 2), (False, False, False)))
    whole = bright_slices()
    predictor = ClickPredictor(BrightModel.from_info(INFO), bright_predictor().weights, AutomaticModel(whole))
    passes: list[int] = []
    whole.load().network.register_forward_hook(lambda *_: passes.append(1))
    predictor.prepare(image)
    runs = len(passes)
    predictor.prepare(OpenImage(image.hu, image.grid))
    assert len(passes) == runs > 0


@pytest.mark.parametrize("which", ["clicks", "whole scans"])
def test_click_on_a_full_gpu_is_a_sentence(which):
    """Not an outline by one model alone either, which the same click would not give a minute later."""
    image, _ = painted(grid_in_order((0, 1, 2), (False, False, False)))
    whole = bright_slices()
    predictor = ClickPredictor(BrightModel.from_info(INFO), bright_predictor().weights, AutomaticModel(whole))

    def fail(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    network = whole.load().network if which == "whole scans" else predictor._loader.load().network
    network.register_forward_hook(fail)
    prompts = Prompts.from_request({"foreground": [voxel_at(image.grid, (0, 0, 0))]}, image.grid)
    with pytest.raises(GpuMemoryError, match="too little free memory"):
        predictor.outline(image, prompts)


@pytest.mark.parametrize(("level", "further"), [(0.64, True), (3.0, False)], ids=["a large lesion", "nothing"])
def test_model_looks_further_only_for_a_lesion_that_may_continue(level, further):
    """Beyond what both models take for a lesion; a click on the heart would run the network for seconds."""
    grid = grid_in_order((0, 1, 2), (False, False, False), size=(70, 70, 35), spacing=(1.0, 1.0, 2.0))
    image, truth = painted(grid, lambda points: np.linalg.norm(points, axis=-1) < 25)
    whole = bright_slices(level)
    seen: list[int] = []
    whole.load().network.register_forward_hook(lambda network, inputs, output: seen.append(inputs[0].shape[-1]))
    predictor = ClickPredictor(BrightModel.from_info(INFO), bright_predictor().weights, AutomaticModel(whole))
    prompts = Prompts.from_request({"foreground": [voxel_at(grid, (0, 0, 0))]}, grid)
    assert dice(on_grid(predictor.outline(image, prompts).region, grid), truth) > 0.9
    assert (len(set(seen)) > 1) == further
