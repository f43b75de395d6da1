"""Changes of a label are counted against the prediction it was made from, or not at all."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from lib.cli.labels import _line
from lib.datastore.label_info import info_of_submission
from lib.datastore.label_store import LabelStore
from lib.datastore.predictions import Changes, Prediction, PredictionStore
from lib.datastore.series_datastore import SeriesDatastore
from lib.dicomweb.folder_client import FolderClient
from lib.phantoms import Acquisition, write_dicom_series
from lib.settings import Settings
from tools.support.damage import DAMAGES, damage

GRID = Acquisition(shape=(6, 16, 20), spacing=(2.5, 1, 1))


def mask(*voxels: tuple[int, int, int], value: int = 1) -> np.ndarray:
    array = np.zeros(GRID.shape, np.uint8)
    for voxel in voxels:
        array[voxel] = value
    return array


A, B, C = (1, 2, 3), (1, 2, 4), (4, 9, 11)


@pytest.mark.parametrize(
    ("predicted", "label", "expected"),
    [
        (mask(A, B), mask(A, B), Changes(0, 0, 2)),
        (mask(A, B), mask(B, C), Changes(1, 1, 1)),
        (mask(), mask(A, B, C), Changes(3, 0, 0)),
        (mask(A), mask(), Changes(0, 1, 0)),
        (mask(A), mask(A, value=2), Changes(1, 1, 0)),
    ],
)
def test_voxels_are_counted(predicted, label, expected):
    assert Changes.between(predicted, label) == expected


@pytest.fixture
def datastore(tmp_path) -> SeriesDatastore:
    studies = tmp_path / "dicom"
    write_dicom_series(studies, np.zeros(GRID.shape, np.int16), GRID.affine, patient_id="P")
    settings = Settings.from_conf(str(studies), {"workspace": str(tmp_path / "workspace")})
    client = FolderClient(studies, settings.segs_dir, settings.cache_dir / "index.sqlite")
    client.scan()
    return SeriesDatastore(client, settings)


@pytest.fixture
def image(datastore) -> str:
    return datastore.list_images()[0]


@pytest.fixture
def predict(datastore, image, tmp_path):
    def predict(voxels: np.ndarray, version: str, client_id: str | None = None, findings=(), **settings) -> None:
        path = tmp_path / "prediction.nrrd"
        sitk.WriteImage(sitk.GetImageFromArray(voxels), str(path))
        volume = Path(datastore.get_image_uri(image))
        datastore.keep_prediction(
            image, path, volume, model_version=version, client_id=client_id, settings=settings, findings=findings
        )

    return predict


@pytest.fixture
def submit(datastore, image, tmp_path):
    def submit(voxels: np.ndarray, **params) -> dict:
        path = tmp_path / "label.bin"
        voxels.tofile(path)
        datastore.save_label(image, str(path), "final", params)
        return datastore.labels.latest(image, "final").info

    return submit


def test_changes_are_counted_against_the_version_named_by_the_viewer(predict, submit):
    predict(mask(A, B), "v1", threshold=0.5)
    predict(mask(C), "v2")
    info = submit(mask(B, C), model_version="v1")
    assert info["changes"] == {"added": 1, "removed": 1, "kept": 1}
    assert info["settings"] == {"threshold": 0.5}
    assert submit(mask(C), model_version="v2")["changes"] == {"added": 0, "removed": 0, "kept": 1}


def test_latest_prediction_of_a_version_is_used(predict, submit):
    predict(mask(A), "v1", threshold=0.9)
    predict(mask(A, B), "v1", threshold=0.1)
    assert submit(mask(A, B), model_version="v1")["changes"]["kept"] == 2
    predict(mask(A), "v1", threshold=0.9)
    info = submit(mask(A, B), model_version="v1")
    assert info["changes"] == {"added": 1, "removed": 0, "kept": 1}
    assert info["settings"] == {"threshold": 0.9}


def test_prediction_is_found_by_client_id(predict, submit):
    predict(mask(A), "v1", client_id="reader")
    predict(mask(B), "v2", client_id="other")
    info = submit(mask(A, C), client_id="reader")
    assert info["model_version"] == "v1"
    assert info["changes"] == {"added": 1, "removed": 0, "kept": 1}
    assert submit(mask(A), client_id="third")["changes"] is None
    assert submit(mask(A))["changes"] is None


def finding(voxel: tuple[int, int, int], confidence: float | None) -> dict:
    """Return the finding at an index (slice, row, column)."""
    return {"voxel": list(voxel[::-1]), "confidence": confidence}


def test_label_has_the_findings_of_its_prediction_that_are_left(predict, submit):
    predict(mask(A, B, C), "v1", findings=[finding(A, 0.9), finding(C, 0.4)])
    assert submit(mask(B), model_version="v1")["findings"] == [finding(B, 0.9)]
    assert submit(mask(A, C), model_version="v1")["findings"] == [finding(A, 0.9), finding(C, 0.4)]
    assert submit(mask((0, 15, 19)), model_version="v1")["findings"] == []


def test_findings_survive_a_restart(datastore, image, predict, submit, tmp_path):
    predict(mask(A), "v1", findings=[finding(A, 0.9)])
    assert PredictionStore(datastore.predictions._folder)._newest_first(image).__next__()[0].findings
    submit(mask(A), model_version="v1")
    again = LabelStore(tmp_path / "workspace" / "labels").latest(image, "final")
    assert (again.info["model_version"], again.info["findings"]) == ("v1", [finding(A, 0.9)])


def test_findings_are_only_of_the_prediction_that_the_label_started_from(predict, submit):
    predict(mask(A), "v1", findings=[finding(A, 0.9)])
    predict(mask(A), "v2", findings=[finding(A, 0.1)])
    assert submit(mask(A), model_version="v1")["findings"] == [finding(A, 0.9)]
    assert "findings" not in submit(mask(A), model_version=None)
    claimed = submit(mask(A), **info_of_submission({"findings": [finding(A, 1.0)], "model_version": None}))
    assert "findings" not in claimed
    assert claimed["client"]["findings"] == [finding(A, 1.0)]


def test_mask_saved_by_the_inference_itself_is_unchanged(submit):
    """MONAI Label saves it before this app keeps the prediction."""
    answer = {"voxels": 2, "model_version": "v1", "findings": [finding(A, 0.9)], "warnings": []}
    info = submit(mask(A, B), model="lung_tumor", params=answer)
    assert (info["model_version"], info["findings"]) == ("v1", [finding(A, 0.9)])
    assert info["changes"] == {"added": 0, "removed": 0, "kept": 2}
    claimed = submit(mask(A), **info_of_submission({"params": answer}))
    assert claimed["model_version"] is None


def test_prediction_with_other_findings_replaces_the_former(datastore, predict, submit):
    predict(mask(A), "v1", findings=[finding(A, 0.9)])
    predict(mask(A), "v1", findings=[finding(A, 0.8)])
    assert len(list(datastore.predictions._folder.rglob("*.nrrd"))) == 1
    assert submit(mask(A), model_version="v1")["findings"] == [finding(A, 0.8)]


def test_prediction_can_have_thousands_of_findings(predict, submit):
    everywhere = [finding(place, 0.123456789) for place in np.ndindex(GRID.shape)]
    predict(np.ones(GRID.shape, np.uint8), "v1", findings=everywhere)
    assert len(submit(mask(A), model_version="v1")["findings"]) == len(everywhere)


def test_damaged_findings_are_not_used(datastore, predict, submit):
    """A digit of a confidence changes on the disk."""
    predict(mask(A), "v1", findings=[finding(A, 0.9)])
    (path,) = datastore.predictions._folder.rglob("*.nrrd")
    content = path.read_bytes()
    assert content.count(b'"confidence": 0.9') == 1
    path.write_bytes(content.replace(b'"confidence": 0.9', b'"confidence": 0.1'))
    info = submit(mask(A), model_version="v1")
    assert info["changes"] is None
    assert "findings" not in info


def test_prediction_of_an_earlier_version_has_no_findings(datastore, image, predict, submit):
    predict(mask(A), "v1")
    (path,) = datastore.predictions._folder.rglob("*.nrrd")
    content = path.read_bytes()
    assert content.count(b'"findings": [], ') == 1
    path.write_bytes(content.replace(b'"findings": [], ', b""))
    info = submit(mask(A), model_version="v1")
    assert (info["changes"]["kept"], info["findings"]) == (1, [])


def test_changes_are_unknown_without_a_prediction(predict, submit):
    drawn = submit(mask(A), model_version=None, client_id="reader")
    assert drawn["changes"] is drawn["model_version"] is None
    unknown = submit(mask(A), model_version="v9")
    assert unknown["model_version"] == "v9"
    assert unknown["changes"] is None


@pytest.mark.parametrize("strange", [{"changes": {"added": 0}}, {"model_version": ["v1"]}, {"client_id": {"a": 1}}])
def test_facts_claimed_by_a_client_are_ignored(predict, submit, strange):
    predict(mask(A), "v1", client_id="reader")
    info = submit(mask(A), **strange)
    assert info["changes"] is info["model_version"] is None


def test_damaged_prediction_does_not_prevent_saving_a_label(datastore, predict, submit):
    predict(mask(A), "v1")
    for path in (datastore.predictions._folder).rglob("*.nrrd"):
        path.write_bytes(b"junk")
    assert submit(mask(A), model_version="v1")["changes"] is None


@pytest.mark.parametrize("kind", DAMAGES)
def test_s15_damaged_prediction_is_never_counted_and_hides_no_other(datastore, image, predict, submit, kind):
    """S15: a damaged file in the cache never leads to wrong counts."""
    rng = np.random.default_rng(0)
    damaged, whole = ((rng.random(GRID.shape) < 0.5).astype(np.uint8) for _ in range(2))
    predict(damaged, "v1")
    (path,) = datastore.predictions._folder.rglob("*.nrrd")
    damage(path, kind)
    predict(whole, "v2")
    assert submit(whole, model_version="v2")["changes"] == asdict(Changes.between(whole, whole))
    assert submit(whole, model_version="v1")["changes"] in (None, asdict(Changes.between(damaged, whole)))
    predict(damaged, "v1")


def test_c12_keeping_a_prediction_never_raises(datastore, image, tmp_path):
    """C12: a UserError was raised if the image had been removed meanwhile."""
    for volume in (tmp_path / "gone" / "1.2.3.nrrd", Path(datastore.get_image_uri(image))):
        kept = datastore.keep_prediction(
            image, tmp_path / "no.nrrd", volume, model_version="v1", client_id=None, settings={}
        )
        assert kept is None


def test_prediction_on_another_grid_is_not_used(tmp_path):
    store = PredictionStore(tmp_path)
    store.keep(Prediction("1.2", "former", "v1", None, {}), sitk.GetImageFromArray(mask(A)))
    assert store.find("1.2", "now", model_version="v1") is None
    assert store.find("1.2", "former", model_version="v1") is not None


def test_size_is_limited_and_the_newest_are_kept(tmp_path):
    store = PredictionStore(tmp_path, max_bytes=20_000)
    noise = sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 2, (30, 64, 64)).astype(np.uint8))
    for number in range(6):
        store.keep(Prediction(f"1.{number}", "grid", "v1", None, {}), noise)
    files = list(tmp_path.rglob("*.nrrd"))
    assert 0 < len(files) < 6
    assert store.find("1.5", "grid", model_version="v1") is not None
    assert store.find("1.0", "grid", model_version="v1") is None
    assert len(files) == 1 or sum(path.stat().st_size for path in files) <= 20_000


def test_list_shows_the_changes(datastore, image, predict, submit):
    predict(mask(A, B), "v1")
    submit(mask(A), model_version="v1")
    submit(mask(A), model_version="v9")
    submit(mask(A))
    lines = [_line(record, in_use=False) for record in datastore.labels.history(image)]
    assert "1 voxels, +0 -1 against v1" in lines[0]
    assert "from v9, its prediction is not known" in lines[1]
    assert "no prediction known" in lines[2]


def test_predictions_that_others_evict_meanwhile_are_no_error(tmp_path, monkeypatch):
    """Finished inferences are sent again in several threads at once."""
    store = PredictionStore(tmp_path)
    first, second = (Prediction("1.2", "grid", version, None, {}) for version in ("v1", "v2"))
    store.keep(first, sitk.GetImageFromArray(mask(A)))
    (victim,) = tmp_path.rglob("*.nrrd")
    is_file = Path.is_file

    def evicted_after(path: Path) -> bool:
        found = is_file(path)
        if path == victim:
            path.unlink(missing_ok=True)
        return found

    monkeypatch.setattr(Path, "is_file", evicted_after)
    store.keep(second, sitk.GetImageFromArray(mask(B)))
    assert store.find("1.2", "grid", model_version="v2") is not None
