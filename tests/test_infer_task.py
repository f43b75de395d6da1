"""The infer task: mask and attention map on the image's own grid, with the weights that serve."""

import contextlib
import io
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monailabel.interfaces.app import MONAILabelApp
from PIL import Image

from lib.activelearning.background import Courtesy
from lib.app import MyApp
from lib.errors import UserError
from lib.evaluation.attention_picture import BAR_PX, PANEL_PX, attention_picture
from lib.evaluation.prediction import Predictor
from lib.infers import LungTumorInferTask
from lib.networks import AttentionResidualUNet
from lib.networks.slice_inference import infer_slices
from lib.networks.weights import check_usable
from lib.phantoms import Acquisition, chest_volume, write_volume
from lib.publishing import ModelStore

REQUEST = {"device": "cpu", "result_extension": ".nrrd", "logging": "WARNING"}


@pytest.fixture(params=["head_first_supine", "feet_first_supine", "sagittal"])
def chest(request, tmp_path):
    grid = Acquisition(shape=(24, 64, 72), spacing=(6.0, 5.0, 5.2), plane=request.param)
    hu, _, affine = chest_volume(3, acquisition=grid)
    return write_volume(tmp_path / "chest.nrrd", hu, affine)


@pytest.fixture
def task(info, store):
    return LungTumorInferTask(AttentionResidualUNet(**info["network"]), info, store)


def test_attention_map_lies_on_the_grid_of_the_image(task, store, chest):
    store.serve(store.manifests()[0]["version"])
    file, _ = task({**REQUEST, "image": str(chest), "attention": True})
    image, found = sitk.ReadImage(str(chest)), sitk.ReadImage(file)
    for what in ("GetSize", "GetOrigin", "GetSpacing", "GetDirection"):
        assert getattr(found, what)() == getattr(image, what)()
    values = sitk.GetArrayFromImage(found)
    assert found.GetPixelID() == sitk.sitkFloat32
    assert values.min() >= 0
    assert values.max() <= 1
    assert values.std() > 0


def test_another_version_is_used_at_once(task, store, chest):
    results = []
    for manifest in store.manifests():
        store.serve(manifest["version"])
        file, params = task({**REQUEST, "image": str(chest), "attention": True})
        assert params["model_version"] == manifest["version"]
        results.append(sitk.GetArrayFromImage(sitk.ReadImage(file)))
    assert not np.array_equal(*results)


def test_the_answer_names_the_version_that_made_the_mask(task, store, chest, monkeypatch):
    """Also when another one is published while the run goes on."""
    before, after = (manifest["version"] for manifest in store.manifests())
    store.serve(before)
    mask_transforms = task.post_transforms
    monkeypatch.setattr(task, "post_transforms", lambda data: store.serve(after) or mask_transforms(data))
    _, params = task({**REQUEST, "image": str(chest)})
    assert store.serving_version() == after
    assert params["model_version"] == before


def test_without_weights_nothing_is_predicted(info, tmp_path, chest):
    task = LungTumorInferTask(AttentionResidualUNet(**info["network"]), info, ModelStore(tmp_path / "empty"))
    with pytest.raises(UserError, match="no trained model"):
        task({**REQUEST, "image": str(chest)})


def test_weights_of_another_network_are_told(info, store, chest):
    other = info["network"] | {"channels": [4, 6]}
    task = LungTumorInferTask(AttentionResidualUNet(**other), info, store)
    version = store.manifests()[0]["version"]
    store.serve(version)
    with pytest.raises(UserError, match=f"{version} has the weights of another network"):
        task({**REQUEST, "image": str(chest)})


def test_a_network_that_gives_no_numbers_is_an_error_and_no_empty_mask(task, store, chest, info, tmp_path):
    """S7: NaN weights gave 0 voxels, 200, no warning."""
    network = AttentionResidualUNet(**info["network"])
    torch.nn.init.constant_(network.head.conv.bias, float("nan"))
    torch.save({"model": network.state_dict()}, tmp_path / "nan.pt")
    version = store.keep(tmp_path / "nan.pt", {})
    store.serve(version)
    with pytest.raises(UserError, match=f"no mask: version {version} of the model returned values that") as told:
        task({**REQUEST, "image": str(chest)})
    assert told.value.status == 422
    with pytest.raises(UserError, match="no mask"):
        Predictor(tmp_path / "nan.pt", info)(chest)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(info, tmp_path, value):
    """S7: for an upload and for what a training made."""
    network = AttentionResidualUNet(**info["network"])
    torch.save(network.state_dict(), tmp_path / "good.pt")
    check_usable(network, tmp_path / "good.pt")
    state = {name: tensor.double() for name, tensor in network.state_dict().items()}
    state["head.conv.bias"] += value if np.isnan(value) else 1e300  # infinite in single precision only
    torch.save(state, tmp_path / "bad.pt")
    with pytest.raises(UserError, match=r"head\.conv\.bias have values"):
        check_usable(network, tmp_path / "bad.pt")
    for content in ([1], {"model": {"head": "x"}}, {"model": 1}):
        torch.save(content, tmp_path / "bad.pt")
        with pytest.raises(UserError, match=r"cannot be read|do not match the network"):
            check_usable(network, tmp_path / "bad.pt")


def test_damaged_weights_are_replaced_by_their_parent_and_the_answer_says_which(task, store, chest):
    """S14: flipped bits were served unnoticed."""
    first, second = (manifest["version"] for manifest in store.manifests())
    store.serve(first)
    child = store.keep(store.weights(second), {})
    store.serve(child)
    _, params = task({**REQUEST, "image": str(chest)})
    assert params["model_version"] == child
    content = bytearray(store.weights(child).read_bytes())
    content[len(content) // 2] ^= 1
    store.weights(child).write_bytes(content)
    _, params = task({**REQUEST, "image": str(chest)})
    assert params["model_version"] == first == store.serving().version
    assert child in store.serving().problem


def test_slices_without_lung_cost_nothing():
    class Counting(AttentionResidualUNet):
        slices = 0

        def forward(self, image, return_attention=False):
            Counting.slices += len(image)
            return super().forward(image, return_attention)

    network = Counting(channels=(4, 8)).eval()
    volume = torch.randn(1, 32, 32, 10)
    logits, attention = infer_slices(network, volume, (3, 8), batch_size=2, attention=True)
    assert Counting.slices == 5
    assert logits.shape == attention.shape == (1, 32, 32, 10)
    assert (logits[..., [0, 1, 2, 8, 9]] < -10).all()
    assert (attention[..., [0, 1, 2, 8, 9]] == 0).all()
    with torch.inference_mode():
        alone = network(volume[None, ..., 5])[0]
    torch.testing.assert_close(logits[..., 5], alone, rtol=1e-4, atol=1e-4)


def test_views_are_averaged_where_the_first_shows_something():
    class Lopsided(torch.nn.Module):
        """Marks the left half of what it sees, as far as there is something."""

        stride = 4

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, image, return_attention=False):
            logits = torch.where(image > 0, torch.where(torch.arange(8) < 4, 3.0, -3.0)[:, None], -9.0)
            return (logits, []) if return_attention else logits

    volume = torch.zeros(1, 8, 8, 2)
    volume[..., 1] = 1
    once, _ = infer_slices(Lopsided(), volume, (0, 2), batch_size=2)
    twice, _ = infer_slices(Lopsided(), volume, (0, 2), batch_size=2, views=2)
    assert (once[0, :4, :, 1] == 3).all()
    torch.testing.assert_close(twice[..., 1], torch.zeros(1, 8, 8), atol=1e-5, rtol=0)  # 0.5 on either side
    assert torch.equal(twice[..., 0], once[..., 0])
    beneath = torch.cat([torch.full_like(volume, -1), volume, torch.full_like(volume, 2)])  # seen of three slices
    seen = []

    class Recording(Lopsided):
        def forward(self, image, return_attention=False):
            seen.append(image[:, :, 0, 0].tolist())
            return super().forward(image[:, 1:2], return_attention)

    infer_slices(Recording(), beneath, (1, 2), batch_size=2, views=2)
    assert seen == [[[-1, 1, 2]], [[2, 1, -1]]], "what lies above and below is turned over too"
    four, _ = infer_slices(Lopsided(), volume, (0, 2), batch_size=1, views=4)
    torch.testing.assert_close(four, twice)


def test_only_the_surroundings_of_what_was_found_are_looked_at_again():
    class Finding(torch.nn.Module):
        """As sure as the image is bright; notes how much it sees."""

        stride = 8

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))
            self.seen = []

        def forward(self, image, return_attention=False):
            self.seen.append(tuple(image.shape[2:]))
            logits = image[:, :1] * (1 + len(self.seen))  # each look is surer than the last
            return (logits, []) if return_attention else logits

    volume = torch.full((1, 256, 256, 1), -4.0)
    volume[0, 40:50, 100:104] = volume[0, 200:210, 30:90] = 3.0
    volume[0, 0, 255] = 3.0
    network = Finding()
    found, _ = infer_slices(network, volume, (0, 1), batch_size=1, views=2)
    assert network.seen[0] == (256, 256)
    assert sorted(network.seen[1:]) == [(32, 32), (48, 48), (48, 96)]
    bright = volume[0] > 0
    assert (found[0][bright] > 6.5).all()  # the mean with a surer look; the first alone says 6
    far = torch.nn.functional.max_pool2d(bright[None, ..., 0].float(), 65, 1, 32)[0] == 0
    assert (found[0, ..., 0][far] == -8).all()  # as the first look left it


def test_the_picture_shows_a_row_for_each_of_the_largest_lesions():
    mask = np.zeros((40, 40, 20), np.uint8)
    mask[5:12, 5:12, 3:6] = 1
    mask[25:30, 20:26, 12:14] = 1
    png = attention_picture(np.full(mask.shape, -800), mask, np.random.default_rng(0).random(mask.shape))
    assert png.startswith(b"\x89PNG")
    assert Image.open(io.BytesIO(png)).size == (4 * PANEL_PX, BAR_PX + 2 * (BAR_PX + PANEL_PX))


def test_the_picture_keeps_millimetres_and_sides():
    """Voxels are twice as long from front to back: 40 × 20 of them are a square, at the right of the picture."""
    hu = np.full((80, 40, 3), -1000)
    mask, attention = np.zeros(hu.shape, np.uint8), np.zeros(hu.shape, np.float32)
    mask[40:80, 0:20, 1] = 1
    attention[40:80, 0:20, 1] = 1
    picture = np.array(Image.open(io.BytesIO(attention_picture(hu, mask, attention, (1, 2, 3)))))
    mapped = picture[2 * BAR_PX :, PANEL_PX : 2 * PANEL_PX]  # of the whole slice
    rows, columns = np.nonzero(mapped[..., 0] > mapped[..., 2])  # reddish: high attention
    half = PANEL_PX // 2
    found = rows.min(), rows.max(), columns.min(), columns.max()
    assert np.abs(np.subtract(found, (0, half, half, PANEL_PX))).max() <= 8


@pytest.mark.parametrize("usable_before", [True, False])
def test_c5_a_series_that_becomes_unusable_meanwhile_does_not_lose_its_mask(monkeypatch, usable_before):
    """C5: another file was copied into the folder while the model ran: 422, and the mask stayed on the disk."""
    usable = [usable_before]

    class Store:
        def series(self, image: str) -> SimpleNamespace:
            if not usable[0]:
                raise UserError("Series 1.2 cannot be used.", 422)
            return SimpleNamespace(warnings=("tilted",))

        volume_in_use = contextlib.nullcontext

    def run(app: MONAILabelApp, request: dict, datastore: object = None) -> dict:
        ran.append(request)
        usable[0] = False
        return {"file": "mask.nrrd", "params": {"warnings": ["no lungs"]}}

    ran = []
    app = object.__new__(MyApp)
    app._courtesy = Courtesy(lambda: False)
    monkeypatch.setattr(app, "datastore", Store)
    monkeypatch.setattr(app, "_was_uploaded", lambda image: False)
    monkeypatch.setattr(app, "_keep_prediction", lambda request, result: None)
    monkeypatch.setattr(MONAILabelApp, "infer", run)
    if usable_before:
        assert app.infer({"image": "1.2"})["params"]["warnings"] == ["tilted", "no lungs"]
    else:
        with pytest.raises(UserError, match="cannot be used"):
            app.infer({"image": "1.2"})
    assert len(ran) == usable_before
