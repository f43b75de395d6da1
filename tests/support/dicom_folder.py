"""A folder of small DICOM series and the app's view of it."""

from pathlib import Path

import numpy as np

from lib.datastore.catalog import Series, SeriesCatalog
from lib.dicomweb.folder_client import FolderClient
from lib.dicomweb.matching import values_of
from lib.phantoms import Acquisition, write_dicom_series

GRID = Acquisition(shape=(12, 16, 24), spacing=(2.5, 1.0, 1.0))
HU = np.random.default_rng(0).integers(-1000, 400, GRID.shape).astype(np.int16)


class Folder:
    """A folder of DICOM files and the app's view of it."""

    def __init__(self, root: Path) -> None:
        self.root = root / "dicom"
        self.root.mkdir()
        self.client = FolderClient(self.root, root / "segs", root / "index.sqlite")
        self.catalog = SeriesCatalog(self.client)

    def write(self, name: str, patient_id: str = "P", grid: Acquisition = GRID, **options) -> str:
        return write_dicom_series(self.root / name, HU, grid.affine, patient_id=patient_id, **options)

    def scan_series(self) -> dict[str, Series]:
        """Scan and return the series by SeriesInstanceUID."""
        self.client.scan()
        self.catalog.refresh()
        return {series.uid: series for series in self.catalog.all()}

    def excluded(self) -> dict[str, str]:
        return {path.name: reason for path, reason in self.client.index.problems()}

    def shown(self, study: str) -> set[str]:
        """Return the SeriesInstanceUIDs of a study whose images OHIF receives."""
        listed = {uid for one in self.client.search_for_studies() for uid in values_of(one, "0020000D")}
        shown = {uid for one in self.client.retrieve_study_metadata(study) for uid in values_of(one, "0020000E")}
        assert bool(shown) == (study in listed)
        return shown
