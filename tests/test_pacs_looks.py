"""C7: a look at the PACS costs a few requests, however much is settled there."""

from collections import Counter

import numpy as np
import pytest
import requests
from pydicom import Dataset, dcmread

from lib.datastore.series_datastore import SeriesDatastore
from lib.dicomweb.matching import matches
from lib.exports.dicom_seg import segmentation
from lib.exports.provenance import Provenance
from lib.exports.source_images import SourceImages
from lib.initial_labels.initial_labels import InitialLabels
from lib.initial_labels.marked_objects import MarkedObjects
from lib.phantoms import Acquisition, write_dicom_series
from lib.settings import Settings, load_info
from tests.test_folder_stow import instance

GRID = Acquisition(shape=(4, 16, 20), spacing=(2.5, 1, 1))


class CountingPacs:
    """A DICOMweb client over datasets in memory, which counts what it is asked.

    Attributes:
        datasets: What the PACS holds.
        counts_instances: Whether it tells the number of instances of a series.
        asked: How often each method was called.
    """

    base_url = "http://pacs/dicom-web"

    def __init__(self) -> None:
        self.datasets: list[Dataset] = []
        self.counts_instances = True
        self.asked: Counter[str] = Counter()
        self.failing: set[str] = set()

    def search_for_series(self, search_filters=None, **_: object) -> list[dict]:
        self.asked["search_for_series"] += 1
        found: dict[str, dict] = {}
        for dataset in self.datasets:
            header = found.setdefault(dataset.SeriesInstanceUID, self._json(dataset))
            if self.counts_instances:
                count = header.setdefault("00201209", {"vr": "IS", "Value": [0]})
                count["Value"][0] += 1
        return [header for header in found.values() if matches(header, search_filters or {})]

    def search_for_instances(self, study, series, **_: object) -> list[dict]:
        self.asked["search_for_instances"] += 1
        return [self._json(one) for one in self._of(study, series)]

    def retrieve_series_metadata(self, study, series) -> list[dict]:
        self.asked["retrieve_series_metadata"] += 1
        return [self._json(one) for one in self._of(study, series)]

    def retrieve_instance_metadata(self, study, series, sop) -> dict:
        self.asked["retrieve_instance_metadata"] += 1
        return next(self._json(one) for one in self._of(study, series) if one.SOPInstanceUID == sop)

    def retrieve_instance(self, study, series, sop) -> Dataset:
        self.asked["retrieve_instance"] += 1
        if sop in self.failing:
            raise requests.ConnectionError("broken off")
        return next(one for one in self._of(study, series) if one.SOPInstanceUID == sop)

    def _of(self, study, series) -> list[Dataset]:
        return [one for one in self.datasets if (one.StudyInstanceUID, one.SeriesInstanceUID) == (study, series)]

    @staticmethod
    def _json(dataset: Dataset) -> dict:
        return {tag: value for tag, value in dataset.to_json_dict().items() if tag != "7FE00010"}


@pytest.fixture
def pacs() -> CountingPacs:
    return CountingPacs()


@pytest.fixture
def datastore(pacs, tmp_path) -> SeriesDatastore:
    settings = Settings.from_conf(pacs.base_url, {"workspace": str(tmp_path / "workspace")})
    return SeriesDatastore(pacs, settings, {"Modality": "CT"})


def ct(pacs: CountingPacs, tmp_path, patient_id: str = "P1") -> str:
    folder = tmp_path / patient_id
    uid = write_dicom_series(folder, np.zeros(GRID.shape, np.int16), GRID.affine, patient_id=patient_id)
    pacs.datasets += [dcmread(path) for path in sorted(folder.iterdir())]
    return uid


def seg_of(pacs: CountingPacs, uid: str) -> Dataset:
    images = [one.to_json_dict() for one in pacs.datasets if one.SeriesInstanceUID == uid]
    mask = np.zeros(GRID.shape, np.uint8)
    mask[1, 4:8, 5:9] = 1
    return segmentation(mask, SourceImages.of(images), Provenance(uid, 1, 0.0, "MANUAL"), load_info())


def test_a_settled_series_costs_no_request(pacs, datastore, tmp_path):
    """C7: 25 SEG, 25 RTSTRUCT and some CT; of one SEG an initial label is made."""
    image = ct(pacs, tmp_path)
    ct(pacs, tmp_path, "P2")
    pacs.datasets += [seg_of(pacs, image)]
    pacs.datasets += [instance(kind) for kind in ("seg", "rtstruct") for _ in range(25)]
    labels = InitialLabels(datastore, load_info()["imports"])

    def look() -> Counter[str]:
        pacs.asked.clear()
        datastore.catalog.refresh()
        labels.look_now()
        return pacs.asked.copy()

    datastore._listed = True
    first = look()
    assert first["retrieve_instance"] == 51
    assert "initial" in datastore.labels.current(image)
    for _ in range(3):
        assert look() == {"search_for_series": 3}

    pacs.datasets += [instance("seg")]
    assert look() == {"search_for_series": 3, "search_for_instances": 1, "retrieve_instance": 1}
    more = instance("seg", StudyInstanceUID=pacs.datasets[-1].StudyInstanceUID)
    more.SeriesInstanceUID = pacs.datasets[-1].SeriesInstanceUID
    pacs.datasets += [more]
    assert look() == {"search_for_series": 3, "search_for_instances": 1, "retrieve_instance": 1}
    ct(pacs, tmp_path, "P3")
    assert look() == {"search_for_series": 3, "search_for_instances": 1}
    assert len(datastore.list_images()) == 3
    assert look() == {"search_for_series": 3}


def test_a_pacs_that_tells_no_number_of_instances_is_asked_now_and_then(pacs, datastore, tmp_path):
    """C7"""
    pacs.counts_instances = False
    ct(pacs, tmp_path)
    pacs.datasets += [instance("seg") for _ in range(5)]
    now = 0.0
    objects = MarkedObjects(pacs, clock=lambda: now)
    datastore.catalog._clock = lambda: now
    for seconds, requests_ in ((0, 6), (10, 0), (20, 0), (700, 6), (710, 0)):
        now = float(seconds)
        pacs.asked.clear()
        datastore.catalog.refresh()
        assert len(list(objects.sources())) == 5
        assert pacs.asked["search_for_instances"] == requests_, seconds


def test_a_series_that_could_not_be_judged_is_judged_again(pacs, datastore, tmp_path, monkeypatch):
    """A PACS that fails for a moment must not hide a series until the next start."""
    image = ct(pacs, tmp_path)
    now = 0.0
    datastore.catalog._clock = lambda: now
    with monkeypatch.context() as broken:
        broken.setattr(pacs, "search_for_instances", lambda *_, **__: 1 / 0)
        datastore.catalog.refresh()
    assert "could not be listed" in datastore.catalog.get(image).problem
    datastore.catalog.refresh()
    assert pacs.asked["search_for_instances"] == 0
    now = 400.0
    datastore.catalog.refresh()
    assert datastore.catalog.get(image).problem is None


def test_an_object_that_breaks_off_is_tried_again_and_hides_no_other(pacs, datastore, tmp_path):
    image = ct(pacs, tmp_path)
    good, bad = seg_of(pacs, image), instance("seg")
    pacs.datasets += [bad, good]
    pacs.failing = {bad.SOPInstanceUID}
    datastore.catalog.refresh()
    datastore._listed = True
    labels = InitialLabels(datastore, load_info()["imports"])
    for _ in range(6):
        labels.look_now()
    assert "initial" in datastore.labels.current(image)
    assert pacs.asked["retrieve_instance"] == 1 + 3
