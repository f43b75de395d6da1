"""Shared data, fixtures and markers."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

from lib.processes.priority import wait_passively

wait_passively()  # before PyTorch is loaded; servers started by tests inherit it and need not restart themselves

from lib.phantoms import DemoSeries, write_demo_studies  # noqa: E402

# What they assert is explained on failure as in test modules.
pytest.register_assert_rewrite("tests.browser.ohif", "tests.browser.painting", "tests.browser.reading")

pytest_plugins = [
    "tests.support.server",
    "tests.support.orthanc",
    "tests.support.browser",
    "tests.support.command_line",
    "tests.support.weights",
    "tests.support.imports",
    "tests.support.small_network",
    "tests.support.train_task",
    "tests.support.slicer",
    "tests.support.oidc",
    "tests.support.nginx",
]

# Derandomized so that CI failures reproduce locally. No deadline: machines are busy.
settings.register_profile("lunglabel", derandomize=True, database=None, deadline=None)
settings.load_profile("lunglabel")

KIND_BY_FIXTURE = {
    "chromium": "browser",
    "orthanc": "pacs",
    "start_server": "server",
    "start_module_server": "server",
    "start_oidc_provider": "server",
    "start_nginx": "server",
    "phantom_weights": "slow",
    "shared_data": "slow",
}
NOT_UNIT = {*KIND_BY_FIXTURE.values()}

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark a test by the fixtures it uses; a test that starts a program itself has an explicit marker."""
    kinds = {KIND_BY_FIXTURE[name] for name in getattr(item, "fixturenames", ()) if name in KIND_BY_FIXTURE}
    if not kinds and not NOT_UNIT & {marker.name for marker in item.iter_markers()}:
        kinds = {"unit"}
    for kind in kinds:
        item.add_marker(kind)


@dataclass(frozen=True)
class PhantomStudies:
    """Demo patients on disk.

    Attributes:
        directory: DICOM folder, read-only.
        series: Its series, with masks.
    """

    directory: Path
    series: tuple[DemoSeries, ...]

    def of_patient(self, patient_id: str) -> DemoSeries:
        """Return the first series of a patient."""
        return next(series for series in self.series if series.patient_id == patient_id)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder with real scans used in development; skip where it is missing."""
    if not SHARED_DATA.is_dir():
        pytest.skip("SKIPPED: no real CT data at ../shared/data; it is not part of this repository")
    return SHARED_DATA


@pytest.fixture(scope="session")
def phantom_studies(tmp_path_factory: pytest.TempPathFactory) -> PhantomStudies:
    """Write six generated patients once per session."""
    root = tmp_path_factory.mktemp("phantoms")
    series = write_demo_studies(root / "dicom", truth=root / "truth")
    return PhantomStudies(root / "dicom", tuple(series))
