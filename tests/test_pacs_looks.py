"""C7: a refresh takes few requests to the PACS, however many series are already known."""

from collections import Counter

import numpy as np
import pytest
from pydicom import Dataset

from lib.datastore.series_datastore import SeriesDatastore
from lib.exports.dicom_seg import segmentation
from lib.exports.provenance import Provenance
from lib.exports.source_images import SourceImages
from lib.initial_labels.annotation_objects import AnnotationObjects
from lib.initial_labels.initial_labels import InitialLabels
from lib.settings import Settings, load_info
from tests.support.counting_pacs import GRID, CountingPacs, ct
from tests.support.stow import instance


@pytest.fixture
def pacs() -> CountingPacs:
    return CountingPacs()


@pytest.fixture
def datastore(pacs, tmp_path) -> SeriesDatastore:
    settings = Settings.from_conf(pacs.base_url, {"workspace": str(tmp_path / "workspace")})
    return SeriesDatastore(pacs, settings, {"Modality": "CT"})


def seg_of(pacs: CountingPacs, uid: str) -> Dataset:
    images = [one.to_json_dict() for one in pacs.datasets if one.SeriesInstanceUID == uid]
    mask = np.zeros(GRID.shape, np.uint8)
    mask[1, 4:8, 5:9] = 1
    return segmentation(mask, SourceImages.of(images), Provenance(uid, 1, 0.0, "MANUAL"), load_info())


def test_c7_known_series_need_no_requests(pacs, datastore, tmp_path):
    """C7: 25 SEG, 25 RTSTRUCT and some CT; one SEG becomes an initial label."""
    image = ct(pacs, tmp_path)
    ct(pacs, tmp_path, "P2")
    pacs.datasets += [seg_of(pacs, image)]
    pacs.datasets += [instance(kind) for kind in ("seg", "rtstruct") for _ in range(25)]
    labels = InitialLabels(datastore, load_info()["imports"])

    def look() -> Counter[str]:
        pacs.calls.clear()
        datastore.catalog.refresh()
        labels.read_new_objects()
        return pacs.calls.copy()

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


def test_c7_pacs_without_instance_counts_is_queried_at_intervals(pacs, datastore, tmp_path):
    pacs.counts_instances = False
    ct(pacs, tmp_path)
    pacs.datasets += [instance("seg") for _ in range(5)]
    now = 0.0
    objects = AnnotationObjects(pacs, clock=lambda: now)
    datastore.catalog._clock = lambda: now
    for seconds, requests_ in ((0, 6), (10, 0), (20, 0), (700, 6), (710, 0)):
        now = float(seconds)
        pacs.calls.clear()
        datastore.catalog.refresh()
        assert len(list(objects.sources())) == 5
        assert pacs.calls["search_for_instances"] == requests_, seconds


def test_series_that_could_not_be_checked_is_checked_again(pacs, datastore, tmp_path, monkeypatch):
    """A temporary failure of the PACS must not hide a series until the next start."""
    image = ct(pacs, tmp_path)
    now = 0.0
    datastore.catalog._clock = lambda: now
    with monkeypatch.context() as broken:
        broken.setattr(pacs, "search_for_instances", lambda *_, **__: 1 / 0)
        datastore.catalog.refresh()
    assert "could not be listed" in datastore.catalog.get(image).problem
    datastore.catalog.refresh()
    assert pacs.calls["search_for_instances"] == 0
    now = 400.0
    datastore.catalog.refresh()
    assert datastore.catalog.get(image).problem is None


def test_failed_retrieval_is_retried_and_hides_no_other_object(pacs, datastore, tmp_path):
    image = ct(pacs, tmp_path)
    good, bad = seg_of(pacs, image), instance("seg")
    pacs.datasets += [bad, good]
    pacs.failing = {bad.SOPInstanceUID}
    datastore.catalog.refresh()
    datastore._listed = True
    labels = InitialLabels(datastore, load_info()["imports"])
    for _ in range(6):
        labels.read_new_objects()
    assert "initial" in datastore.labels.current(image)
    assert pacs.calls["retrieve_instance"] == 1 + 3
