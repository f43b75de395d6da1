"""Masks computed ahead: an image that cannot be segmented now stops neither the others nor itself for good."""

import contextlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from lib.activelearning.background import YieldToUsers
from lib.cluster.background import BackgroundCluster, ClusterAwayError
from lib.errors import UserError
from lib.inference import WeightsId
from lib.inference.gpu_memory import GpuMemoryError
from lib.server import inference_ahead
from lib.server.inference_ahead import InferenceAhead
from lib.settings import InferenceOptions, Settings

IMAGES = ("3", "2", "1")  # the newest first


class Finished:
    """Finished inferences by image and state of its files."""

    def __init__(self) -> None:
        self.files = dict.fromkeys(IMAGES, "files")
        self.kept = set()
        self.keeps = True

    def key(self, request, volume=None):
        files = self.files[request["image"]]
        return files and (request["image"], files)

    def __contains__(self, key):
        return key in self.kept

    def keep(self, key, request, result, volume):
        assert Path(result["file"]).is_file()
        if self.keeps:
            self.kept.add(key)


class Cluster(BackgroundCluster):
    """A cluster whose workers cannot segment one image."""

    def __init__(self) -> None:
        super().__init__(None)

    def places(self):
        return 1

    def run(self, function, model, info, request):
        if request["image"] == "volume of 3":
            raise ClusterAwayError from UserError("The network's output is not finite.")
        return b"", {}


@pytest.fixture
def finished() -> Finished:
    return Finished()


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture
def failing() -> dict[str, Exception]:
    """Return the errors of the images that cannot be segmented."""
    return {}


@pytest.fixture
def ahead_with(finished, now, failing, tmp_path):
    """Return a function that makes the worker of a server with three images."""
    settings = Settings.from_conf(str(tmp_path), {"workspace": str(tmp_path.with_name("workspace"))})
    settings.info["config"]["ahead"]["infer_ahead"] = "idle"

    class Weights:
        def current(self):
            return WeightsId("v1", tmp_path, 1)

        def pinned(self, folder):
            return SimpleNamespace(sha256="0")

    predictor = SimpleNamespace(model=SimpleNamespace(options=InferenceOptions()), weights=Weights())
    catalog = {uid: SimpleNamespace(uid=uid, instance_count=1, value=lambda keyword: "2026") for uid in IMAGES}
    datastore = SimpleNamespace(
        catalog=catalog,
        get_unlabeled_images=lambda: list(IMAGES),
        volume_in_use=lambda image: contextlib.nullcontext(f"volume of {image}"),
    )

    def task(request):
        image = request["image"].rpartition(" ")[2]
        if image in failing:
            raise failing[image]
        (tmp_path / f"{image}.nii.gz").touch()
        return str(tmp_path / f"{image}.nii.gz"), {}

    def make(cluster=None):
        made = InferenceAhead(
            finished, datastore, predictor, settings, YieldToUsers(lambda: False), cluster, clock=lambda: now[0]
        )
        made._task = task
        return made

    return make


def run(ahead, rounds=10) -> None:
    for _ in range(rounds):
        if not ahead.run_once():
            return
    raise AssertionError("it does not come to an end")


@pytest.mark.parametrize(
    ("error", "later"),
    [
        (KeyError("PixelSpacing"), ["2", "1"]),
        (UserError("It has no slices."), ["2", "1"]),
        (GpuMemoryError("2 GiB"), ["3", "2", "1"]),
        (OSError(28, "No space left on device"), ["3", "2", "1"]),
        (None, ["3", "2", "1"]),
    ],
)
def test_an_image_that_fails_does_not_stop_the_others(error, later, ahead_with, finished, failing, now, tmp_path):
    """It is tried again if the reason may pass: a full disk, a GPU in use, a PACS that does not respond (None)."""
    if error:
        failing["3"] = error
    else:
        finished.files["3"] = None
    ahead = ahead_with()
    run(ahead)
    assert [image for image in IMAGES if (image, "files") in finished] == ["2", "1"]
    failing.clear()
    finished.files["3"] = "files"
    run(ahead)
    assert ("3", "files") not in finished, "not at once"
    now[0] += inference_ahead._LOOK_AGAIN_SECONDS
    run(ahead)
    assert [image for image in IMAGES if (image, "files") in finished] == later
    assert not [*tmp_path.glob("*.nii.gz")]


def test_masks_that_were_not_kept_or_whose_files_changed_are_computed_again(ahead_with, finished, now):
    ahead = ahead_with()
    finished.keeps = False
    run(ahead)
    finished.keeps = True
    now[0] += inference_ahead._LOOK_AGAIN_SECONDS
    run(ahead)
    assert len(finished.kept) == 3
    finished.files["2"] = "other files"
    now[0] += inference_ahead._LOOK_AGAIN_SECONDS
    run(ahead)
    assert ("2", "other files") in finished


def test_an_image_that_no_worker_can_segment_does_not_stop_the_others(ahead_with, finished):
    ahead = ahead_with(Cluster())
    assert not ahead.run_once()
    run(ahead)
    assert [image for image in IMAGES if (image, "files") in finished] == ["2", "1"]
