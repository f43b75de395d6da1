"""Comparison with other studies of a patient: which they are, registration, growth of lesions."""

import csv
import io
import math
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import requests
import SimpleITK as sitk
from pydicom import dcmread

from lib.datastore.label_record import read_voxels
from lib.datastore.opening import open_datastore
from lib.dicomweb.folder_client import FolderClient
from lib.errors import UserError
from lib.exports.label_exports import LabelExports
from lib.exports.lesion_table import as_csv
from lib.followup.doubling_time import Change, growth
from lib.followup.former_lesions import former_lesions
from lib.followup.lesion_matching import FARTHEST_MM, PlacedLesion, match_lesions
from lib.followup.other_studies import former_labelled, other_studies, other_study
from lib.followup.registering import Registering
from lib.followup.registration import Registration, register
from lib.followup.registration_store import RegistrationStore
from lib.phantoms import Acquisition
from lib.phantoms.follow_up import DAYS, GROWTH, write_follow_up
from lib.server.followup_routes import followup_router
from lib.settings import Settings
from tests.support.routes import serve_router
from tools.support.waiting import wait_for

REAL = Path(__file__).parents[2] / "shared" / "data" / "lung-pet-ct-dx-a0002"
SAME = Registration(np.eye(4), 1.0, 1.0)


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    """Return two studies of a patient in an open datastore, the earlier one labelled."""
    folder = tmp_path_factory.mktemp("followup")
    former, current = write_follow_up(folder / "dicom", folder / "truth")
    settings = Settings.from_conf(str(folder / "dicom"), {"workspace": str(folder / "workspace")})
    settings.cache_dir.mkdir(parents=True)
    datastore = open_datastore(settings)
    assert isinstance(datastore.client, FolderClient)
    datastore.client.scan()
    datastore.refresh()
    datastore.save_label(former.series_uid, str(former.truth), "final", {})
    store = RegistrationStore(datastore, settings.registrations_dir)
    return SimpleNamespace(former=former, current=current, datastore=datastore, store=store, settings=settings)


def lesion(number: int, x: float, uid: str = "", volume: float = 500.0) -> PlacedLesion:
    return PlacedLesion(number, (x, 0.0, 0.0), volume, uid)


def test_studies_of_the_patient_are_listed_with_what_tells_them_apart(patient):
    (other,) = other_studies(patient.datastore, patient.current.series_uid)
    assert (other.series, other.study) == (patient.former.series_uid, patient.former.study_uid)
    assert (other.date, other.days, other.is_earlier) == (date(2026, 1, 5), DAYS, True)
    assert (other.slice_thickness, other.kernel, other.labelled) == (3.0, "PHANTOM", True)
    assert former_labelled(patient.datastore, patient.current.series_uid) == other
    (later,) = other_studies(patient.datastore, patient.former.series_uid)
    assert (later.days, later.is_earlier, later.labelled) == (-DAYS, False, False)
    assert former_labelled(patient.datastore, patient.former.series_uid) is None


@pytest.mark.pacs
def test_studies_in_a_pacs_are_compared_alike(orthanc, tmp_path):
    tiny = Acquisition(shape=(8, 64, 64), spacing=(5.0, 5.6, 5.6))
    former, current = write_follow_up(tmp_path / "dicom", tmp_path / "truth", acquisition=tiny)
    for path in (tmp_path / "dicom").rglob("*.dcm"):
        image = dcmread(path)
        image.IssuerOfPatientID = "HOSPITAL"
        image.save_as(path, write_like_original=False)
    url = orthanc(tmp_path / "dicom").url
    datastore = open_datastore(Settings.from_conf(url, {"workspace": str(tmp_path / "workspace")}))
    datastore.refresh()
    (other,) = other_studies(datastore, current.series_uid)
    assert (other.series, other.days, other.slice_thickness, other.kernel) == (former.series_uid, DAYS, 5.0, "PHANTOM")
    assert other_study(datastore, current.series_uid, former.series_uid) == other
    with pytest.raises(UserError, match="not of another study of the patient"):
        other_study(datastore, current.series_uid, current.series_uid)


@pytest.mark.parametrize("change", [{"IssuerOfPatientID": "B"}, {"PatientID": "OTHER"}, {"PatientID": ""}])
def test_studies_of_another_patient_are_not_listed(tmp_path, change):
    tiny = Acquisition(shape=(8, 64, 64), spacing=(5.0, 5.6, 5.6))
    former, current = write_follow_up(tmp_path / "dicom", tmp_path / "truth", acquisition=tiny)
    for path in (tmp_path / "dicom").rglob("*-2/*.dcm"):
        image = dcmread(path)
        for keyword, value in change.items():
            setattr(image, keyword, value)
        image.save_as(path, write_like_original=False)
    datastore = open_datastore(Settings.from_conf(str(tmp_path / "dicom"), {"workspace": str(tmp_path / "workspace")}))
    datastore.client.scan()
    datastore.refresh()
    assert {former.series_uid, current.series_uid} == {*datastore.list_images()}
    assert other_studies(datastore, current.series_uid) == []


def test_registration_finds_the_lesions_and_is_kept_until_the_images_change(patient, monkeypatch):
    pair = patient.current.series_uid, patient.former.series_uid
    worker = Registering(patient.store)
    assert worker.request(*pair) is None
    worker.start()
    made = wait_for(lambda: worker.request(*pair), "the registration", seconds=120)
    worker.stop()
    assert made.problem is None
    assert made.correlation > 0.9
    errors = np.linalg.norm(made.to_other(patient.current.lesions) - patient.former.lesions, axis=1)
    assert errors.max() < 2, "mm"
    monkeypatch.setattr("lib.followup.registration_store.register", None)
    assert np.array_equal(patient.store.get(*pair).matrix, made.matrix)
    monkeypatch.setattr("lib.followup.registration_store.fingerprint_of", lambda series, client: "changed")
    assert patient.store.known(*pair) is None


def test_scan_that_does_not_match_is_refused(patient, tmp_path):
    volumes = [patient.datastore.get_image_uri(one.series_uid) for one in (patient.current, patient.former)]
    image = sitk.ReadImage(volumes[1])
    upside_down = sitk.GetImageFromArray(sitk.GetArrayFromImage(image)[::-1])
    upside_down.CopyInformation(image)
    sitk.WriteImage(upside_down, str(tmp_path / "other.nrrd"))
    assert "do not match after registration" in register(Path(volumes[0]), tmp_path / "other.nrrd").problem
    assert "only 40% of the lungs" in Registration(np.eye(4), 0.99, 0.4).problem


def test_failed_registration_is_reported_once_and_tried_again(patient, monkeypatch):
    worker = Registering(patient.store)
    pair = patient.current.series_uid, "1.2.3"
    worker._waiting[pair] = None
    assert worker.run_once()
    patient.store.known = lambda *_: None
    try:
        with pytest.raises(UserError, match=r"There is no image '1\.2\.3'"):
            worker.request(*pair)
        assert worker.request(*pair) is None
        monkeypatch.setattr("lib.followup.registration_store.register", lambda *_: 1 / 0)
        worker._waiting = {(patient.current.series_uid, patient.former.series_uid): None, pair: None}
        with pytest.raises(ZeroDivisionError):
            worker.run_once()
        assert [*worker._waiting] == [pair], "the next one is not kept waiting"
    finally:
        del patient.store.known


def test_lesions_are_matched_by_place_one_to_one():
    current = [lesion(1, 0), lesion(2, 12), lesion(3, 100)]
    former = [lesion(7, 8), lesion(8, 20), lesion(9, 100 + FARTHEST_MM + 0.1)]
    assert {number: one.number for number, one in match_lesions(current, former, SAME).items()} == {1: 7, 2: 8}
    assert match_lesions(current, [], SAME) == {}


def test_lesions_with_one_tracking_uid_are_one_wherever_they_are():
    current = [lesion(1, 0, "1.2"), lesion(2, 50, "1.3")]
    former = [lesion(7, 0, "1.9"), lesion(8, 200, "1.2")]
    assert {number: one.number for number, one in match_lesions(current, former, SAME).items()} == {1: 8}


def test_doubling_time_has_an_interval():
    doubled = growth(1000, 4000, 100)
    assert doubled.change is Change.GROWN
    assert doubled.change_percent == 300
    assert doubled.doubling_days == pytest.approx(50)
    assert 0 < doubled.shortest_days < 50 < doubled.longest_days < math.inf
    unsure = growth(1000, 1300, 100)
    assert unsure.change is Change.NONE
    assert unsure.longest_days is None, "no growth is possible"
    assert unsure.shortest_days < unsure.doubling_days
    shrunk = growth(4000, 1000, 100)
    assert (shrunk.change, shrunk.doubling_days, shrunk.shortest_days) == (Change.SHRUNK, None, None)
    assert growth(1000, 4000, 0).doubling_days is None
    # The smallest certain growth of the diameter: 2 mm of a nodule of 5.4 mm, a quarter from 10 mm on.
    for diameter, certain in ((5.4, 7.4), (10.0, 12.6)):
        volumes = [math.pi / 6 * one**3 for one in (diameter, certain - 0.3, certain + 0.1)]
        assert growth(volumes[0], volumes[1], 90).change is Change.NONE
        assert growth(volumes[0], volumes[2], 90).change is Change.GROWN


def test_growth_is_in_the_table_of_lesions(patient):
    patient.datastore.save_label(patient.current.series_uid, str(patient.current.truth), "final", {})
    exports = LabelExports(patient.datastore, patient.settings.info, patient.store)
    record = patient.datastore.labels.latest(patient.current.series_uid, "final")
    grown, stable = csv.DictReader(io.StringIO(as_csv([exports.lesions(record)])))
    assert (grown["former_date"], grown["volume_change"]) == ("20260105", "grown")
    factor = float(grown["volume_mm3"]) / float(grown["former_volume_mm3"])
    assert factor == pytest.approx(GROWTH, rel=0.15)
    assert float(grown["doubling_time_days"]) == pytest.approx(DAYS * math.log(2) / math.log(factor), rel=0.01)
    assert float(grown["doubling_time_shortest_days"]) < float(grown["doubling_time_days"])
    assert stable["volume_change"] == "no change beyond measurement error"
    assert abs(float(stable["volume_change_percent"])) < 25
    (none, _) = csv.DictReader(
        io.StringIO(as_csv([LabelExports(patient.datastore, patient.settings.info).lesions(record)]))
    )
    assert none["former_date"] == none["volume_change"] == none["doubling_time_days"] == ""
    voxels = read_voxels(patient.datastore.labels.content(record))
    assert len(exports.placed_lesions(record)) == 2 == len(np.unique(voxels)), "two lesions of one value"


@pytest.mark.skipif(not REAL.is_dir(), reason="SKIPPED: ../shared/data is not there")
def test_two_kernels_of_a_real_scan_are_registered_after_it_moved(tmp_path):
    folders = [one for one in sorted(REAL.iterdir()) if one.is_dir() and one.name != "Annotation"]
    volumes = [sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(one))) for one in folders]
    motion = sitk.Euler3DTransform(
        volumes[1].TransformContinuousIndexToPhysicalPoint([256, 256, 15]), *np.deg2rad([3, -2, 5]), (12, -8, 15)
    )
    moved = sitk.Resample(volumes[1], volumes[1], motion.GetInverse(), sitk.sitkLinear, -1000)
    for name, image in (("current", volumes[0]), ("other", moved)):
        sitk.WriteImage(sitk.Cast(image, sitk.sitkInt16), str(tmp_path / f"{name}.nrrd"))
    made = register(tmp_path / "current.nrrd", tmp_path / "other.nrrd")
    assert made.problem is None
    points = np.array([volumes[0].TransformIndexToPhysicalPoint(one) for one in ((150, 250, 10), (380, 280, 20))])
    assert np.abs(made.to_other(points) - [motion.TransformPoint(one) for one in points]).max() < 2


def test_lesions_are_in_the_table_without_growth_if_a_registration_cannot_be_stored(patient, tmp_path, caplog):
    datastore, series = patient.datastore, patient.current.series_uid
    datastore.save_label(series, str(patient.current.truth), "final", {})
    (tmp_path / "full").write_text("no folder")
    exports = LabelExports(datastore, patient.settings.info, RegistrationStore(datastore, tmp_path / "full"))
    with mock.patch("lib.followup.registration_store.register", return_value=SAME):
        _, lesions = exports.lesions(datastore.labels.latest(series, "final"))
    assert [one.former_date for one in lesions] == ["", ""]
    assert "are not compared with" in caplog.text


def test_lesion_without_counterpart_is_left_out():
    found = former_lesions([lesion(1, 0), lesion(2, 90)], [lesion(5, 3)], SAME, date(2026, 1, 5), 90)
    assert {number: one.number for number, one in found.items()} == {1: 5}


@pytest.mark.parametrize("volume_mm3", [0, 1e308])
def test_lesions_of_impossible_volumes_are_refused(volume_mm3):
    router = followup_router(SimpleNamespace())
    lesions = {"lesions": [{"number": 1, "centre": [0, 0, 0], "volume_mm3": volume_mm3}]}
    with serve_router(router) as url:
        answer = requests.post(f"{url}/viewer/comparison", params={"image": "1.2", "other": "1.3"}, json=lesions)
    assert answer.status_code == 422
