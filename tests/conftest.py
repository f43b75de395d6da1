"""Data that tests share, and the programs they start."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

from lib.processes.priority import wait_passively

wait_passively()  # before PyTorch is loaded; servers that tests start inherit it, and need not start twice

from lib.phantoms import DemoSeries, write_demo_studies  # noqa: E402

pytest_plugins = [
    "tests.support.server",
    "tests.support.orthanc",
    "tests.support.browser",
    "tests.support.weights",
    "tests.support.imports",
    "tests.support.small_network",
]

# The same examples in each run: a failure on CI is a failure here. No deadline: machines are busy.
settings.register_profile("lunglabel", derandomize=True, database=None, deadline=None)
settings.load_profile("lunglabel")

KIND_BY_FIXTURE = {
    "chromium": "browser",
    "orthanc": "pacs",
    "start_server": "server",
    "start_module_server": "server",
    "phantom_weights": "slow",
    "shared_data": "slow",
}
NOT_UNIT = {*KIND_BY_FIXTURE.values()}

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark a test by what its fixtures start; a test that starts something itself carries the marker already."""
    kinds = {KIND_BY_FIXTURE[name] for name in getattr(item, "fixturenames", ()) if name in KIND_BY_FIXTURE}
    if not kinds and not NOT_UNIT & {marker.name for marker in item.iter_markers()}:
        kinds = {"unit"}
    for kind in kinds:
        item.add_marker(kind)


@dataclass(frozen=True)
class PhantomStudies:
    """The demo patients on disk.

    Attributes:
        directory: DICOM folder, only to be read.
        series: what is in it, masks included.
    """

    directory: Path
    series: tuple[DemoSeries, ...]

    def of_patient(self, patient_id: str) -> DemoSeries:
        """First series of a patient."""
        return next(series for series in self.series if series.patient_id == patient_id)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with the real scans that development uses; a user's clone has none."""
    if not SHARED_DATA.is_dir():
        pytest.skip("SKIPPED: no real CT data at ../shared/data; it is not part of this repository")
    return SHARED_DATA


@pytest.fixture(scope="session")
def phantom_studies(tmp_path_factory: pytest.TempPathFactory) -> PhantomStudies:
    """Six generated patients, written once."""
    root = tmp_path_factory.mktemp("phantoms")
    series = write_demo_studies(root / "dicom", truth=root / "truth")
    return PhantomStudies(root / "dicom", tuple(series))
