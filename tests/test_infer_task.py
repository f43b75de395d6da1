"""The infer task: mask and attention map on the grid of the image, with the model version in use."""

import contextlib
import io
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from monailabel.config import settings as server_settings
from monailabel.interfaces.app import MONAILabelApp
from PIL import Image

from lib.app import MyApp
from lib.errors import UserError
from lib.evaluation.attention_picture import BAR_PX, PANEL_PX, attention_picture
from lib.inference import ModelDescription, Predictor
from lib.infers import LungTumorInferTask
from lib.networks import AttentionResidualUNet
from lib.networks.weights import check_usable
from lib.phantoms import Acquisition, chest_volume, write_volume
from lib.publishing import ModelStore
from lib.server.inference_progress import InferenceProgress
from lib.server.request_queues import RequestQueues
from lib.server.upstream_patches import apply_settings
from lib.settings import Settings
from tests.support.small_network import infer_task, serving_predictor

REQUEST = {"device": "cpu", "result_extension": ".nrrd", "logging": "WARNING"}


@pytest.fixture(params=["head_first_supine", "feet_first_supine", "sagittal"])
def chest(request, tmp_path):
    grid = Acquisition(shape=(24, 64, 72), spacing=(6.0, 5.0, 5.2), plane=request.param)
    hu, _, affine = chest_volume(3, acquisition=grid)
    return write_volume(tmp_path / "chest.nrrd", hu, affine)


@pytest.fixture
def task(info, store):
    return infer_task(info, store)


def test_attention_map_is_on_the_grid_of_the_image(task, store, chest):
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


def test_newly_served_version_is_used_at_once(task, store, chest):
    results = []
    for manifest in store.manifests():
        store.serve(manifest["version"])
        file, params = task({**REQUEST, "image": str(chest), "attention": True})
        assert params["model_version"] == manifest["version"]
        results.append(sitk.GetArrayFromImage(sitk.ReadImage(file)))
    assert not np.array_equal(*results)


def test_reports_the_version_that_made_the_mask(task, store, chest, monkeypatch):
    """Even if another version is published during the run."""
    before, after = (manifest["version"] for manifest in store.manifests())
    store.serve(before)
    mask_transforms = task.post_transforms
    monkeypatch.setattr(task, "post_transforms", lambda data: store.serve(after) or mask_transforms(data))
    _, params = task({**REQUEST, "image": str(chest)})
    assert store.serving_version() == after
    assert params["model_version"] == before


def test_inference_waits_before_each_pass_and_tells_that_the_gpu_is_full(info, store, chest):
    """Clicks come first; and a full GPU, as of an inference during a training, is a sentence."""
    store.serve(store.manifests()[0]["version"])
    passes: list[int] = []

    def before_pass(done: int, total: int) -> None:
        passes.append(done)
        if len(passes) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee the documentation")

    task = LungTumorInferTask(serving_predictor(info, store), info, before_pass=before_pass)
    with pytest.raises(UserError, match=r"little free memory.*Tried to allocate 2.00 GiB\.\)$") as caught:
        task({**REQUEST, "image": str(chest)})
    assert caught.value.status == 503
    assert len(passes) == 3


def test_inference_without_weights_is_refused(info, tmp_path, chest):
    task = infer_task(info, ModelStore(tmp_path / "empty"))
    with pytest.raises(UserError, match="no trained model"):
        task({**REQUEST, "image": str(chest)})


def test_weights_of_another_network_are_refused(info, store, chest):
    task = infer_task(info | {"network": info["network"] | {"channels": [4, 6]}}, store)
    version = store.manifests()[0]["version"]
    store.serve(version)
    with pytest.raises(UserError, match=f"weights of version {version} do not fit"):
        task({**REQUEST, "image": str(chest)})


def test_s7_nan_output_is_an_error(task, store, chest, info, tmp_path):
    """S7: NaN weights gave an empty mask with 200 and no warning."""
    network = AttentionResidualUNet(**info["network"])
    torch.nn.init.constant_(network.head.conv.bias, float("nan"))
    torch.save({"model": network.state_dict()}, tmp_path / "nan.pt")
    version = store.keep(tmp_path / "nan.pt", {})
    store.serve(version)
    with pytest.raises(UserError, match=f"no mask: version {version} of the model returned values that") as told:
        task({**REQUEST, "image": str(chest)})
    assert told.value.status == 422
    with pytest.raises(UserError, match="no mask"):
        Predictor.from_file(tmp_path / "nan.pt", ModelDescription.from_info(info)).predict(chest)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_s7_non_finite_weights_are_refused(info, tmp_path, value):
    """S7: for uploaded and for trained weights."""
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


def test_s14_damaged_weights_fall_back_to_their_parent(task, store, chest):
    """S14: weights with flipped bits were served unnoticed."""
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


def test_attention_picture_has_a_row_for_each_of_the_largest_lesions():
    mask = np.zeros((40, 40, 20), np.uint8)
    mask[5:12, 5:12, 3:6] = 1
    mask[25:30, 20:26, 12:14] = 1
    maps = np.random.default_rng(0).random((2, *mask.shape))
    png = attention_picture(np.full(mask.shape, -800), mask, *maps)
    assert png.startswith(b"\x89PNG")
    assert Image.open(io.BytesIO(png)).size == (4 * PANEL_PX, BAR_PX + 2 * (BAR_PX + PANEL_PX))


def test_attention_picture_keeps_aspect_ratio_and_sides():
    """Voxels are twice as long from front to back: 40 × 20 of them are a square, at the right of the picture."""
    hu = np.full((80, 40, 3), -1000)
    mask = np.zeros(hu.shape, np.uint8)
    mask[40:80, 0:20, 1] = 1
    probability, attention = mask.astype(np.float32), np.zeros(hu.shape, np.float32)
    picture = np.array(Image.open(io.BytesIO(attention_picture(hu, mask, probability, attention, (1, 2, 3)))))
    whole, _, probable, attended = np.split(picture[2 * BAR_PX :], 4, axis=1)
    assert (probable[..., 0] > probable[..., 2]).any(), "red: high"
    assert not (attended[..., 0] > attended[..., 2]).any()
    rows, columns = np.nonzero(whole[..., 0] > whole[..., 2])  # the outline is red
    half = PANEL_PX // 2
    found = rows.min(), rows.max(), columns.min(), columns.max()
    assert np.abs(np.subtract(found, (0, half, half, PANEL_PX))).max() <= 8


@pytest.mark.parametrize("usable_before", [True, False])
def test_c5_series_that_becomes_unusable_during_inference_keeps_its_mask(monkeypatch, usable_before):
    """C5: a file added to the folder during inference gave 422 and left the mask on the disk."""
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
    app.queues, app.progress = RequestQueues(), InferenceProgress()
    monkeypatch.setattr(app, "datastore", Store)
    monkeypatch.setattr(app, "_was_uploaded", lambda image: False)
    monkeypatch.setattr(MONAILabelApp, "infer", run)
    if usable_before:
        assert app.infer({"image": "1.2"})["params"]["warnings"] == ["tilted", "no lungs"]
    else:
        with pytest.raises(UserError, match="cannot be used"):
            app.infer({"image": "1.2"})
    assert len(ran) == usable_before


class WaitingTask:
    """Infer task that waits for an event."""

    description = "waits"

    def __init__(self, event: threading.Event) -> None:
        self.event, self.began = event, threading.Event()

    def __call__(self, request: dict) -> tuple[None, dict]:
        self.began.set()
        assert self.event.wait(timeout=60)
        return None, {}


def test_a_click_does_not_wait_for_an_inference_on_a_whole_scan(tmp_path, monkeypatch):
    """MONAI Label's own pool has one thread for all models, so that the queues of this app would not matter."""
    for name in ("TRACKING_ENABLED", "AUTO_UPDATE_SCORING", "INFER_CONCURRENCY", "SESSION_PATH"):
        setting = f"MONAI_LABEL_{name}"
        monkeypatch.setattr(server_settings, setting, getattr(server_settings, setting))  # restored at the end
    clicked, now = threading.Event(), threading.Event()
    now.set()
    tasks = {"whole scans": WaitingTask(clicked), "clicks": WaitingTask(now)}
    monkeypatch.setattr(MONAILabelApp, "init_infers", lambda self: tasks)
    monkeypatch.setattr(MONAILabelApp, "init_datastore", lambda self: SimpleNamespace(get_image_uri=lambda image: ""))
    apply_settings(Settings.from_conf("studies", {"workspace": str(tmp_path)}), in_server=False)
    app = MONAILabelApp("", "studies", {})
    whole = threading.Thread(target=app.infer, args=({"model": "whole scans", "image": "1.2"},))
    whole.start()
    assert tasks["whole scans"].began.wait(timeout=60)
    click = threading.Thread(target=app.infer, args=({"model": "clicks", "image": "1.2"},))
    click.start()
    click.join(10)
    answered = not click.is_alive()
    clicked.set()
    whole.join(60)
    click.join(60)
    assert answered
