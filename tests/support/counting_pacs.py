"""An in-memory PACS that counts calls."""

from collections import Counter

import numpy as np
import requests
from pydicom import Dataset, dcmread

from lib.dicomweb.matching import matches
from lib.phantoms import Acquisition, write_dicom_series

GRID = Acquisition(shape=(4, 16, 20), spacing=(2.5, 1, 1))


class CountingPacs:
    """DICOMweb client over in-memory datasets.

    Attributes:
        datasets: Content of the PACS.
        counts_instances: Whether it returns NumberOfSeriesRelatedInstances (0020,1209).
        calls: Number of calls per method.
        failing: SOP Instance UIDs whose retrieval fails.
    """

    base_url = "http://pacs/dicom-web"

    def __init__(self) -> None:
        self.datasets: list[Dataset] = []
        self.counts_instances = True
        self.calls: Counter[str] = Counter()
        self.failing: set[str] = set()

    def search_for_series(self, search_filters=None, **_: object) -> list[dict]:
        self.calls["search_for_series"] += 1
        found: dict[str, dict] = {}
        for dataset in self.datasets:
            header = found.setdefault(dataset.SeriesInstanceUID, self._json(dataset))
            if self.counts_instances:
                count = header.setdefault("00201209", {"vr": "IS", "Value": [0]})
                count["Value"][0] += 1
        return [header for header in found.values() if matches(header, search_filters or {})]

    def search_for_instances(self, study, series, **_: object) -> list[dict]:
        self.calls["search_for_instances"] += 1
        return [self._json(one) for one in self._of(study, series)]

    def retrieve_series_metadata(self, study, series) -> list[dict]:
        self.calls["retrieve_series_metadata"] += 1
        return [self._json(one) for one in self._of(study, series)]

    def retrieve_series(self, study, series) -> list[Dataset]:
        self.calls["retrieve_series"] += 1
        return self._of(study, series)

    def retrieve_instance_metadata(self, study, series, sop) -> dict:
        self.calls["retrieve_instance_metadata"] += 1
        return next(self._json(one) for one in self._of(study, series) if one.SOPInstanceUID == sop)

    def retrieve_instance(self, study, series, sop) -> Dataset:
        self.calls["retrieve_instance"] += 1
        if sop in self.failing:
            raise requests.ConnectionError("broken off")
        return next(one for one in self._of(study, series) if one.SOPInstanceUID == sop)

    def _of(self, study, series) -> list[Dataset]:
        return [one for one in self.datasets if (one.StudyInstanceUID, one.SeriesInstanceUID) == (study, series)]

    @staticmethod
    def _json(dataset: Dataset) -> dict:
        return {tag: value for tag, value in dataset.to_json_dict().items() if tag != "7FE00010"}


def ct(pacs: CountingPacs, tmp_path, patient_id: str = "P1") -> str:
    folder = tmp_path / patient_id
    uid = write_dicom_series(folder, np.zeros(GRID.shape, np.int16), GRID.affine, patient_id=patient_id)
    pacs.datasets += [dcmread(path) for path in sorted(folder.iterdir())]
    return uid
