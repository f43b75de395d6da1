"""The tool Click: from the pointer to the voxels that are stored."""

import json
from dataclasses import dataclass

import numpy as np
import pytest
import SimpleITK as sitk
from playwright.sync_api import Request, Response

from lib.clicks.region import Region
from lib.phantoms import Acquisition, PhantomLesion, chest_volume, write_dicom_series
from lib.publishing.stores import CLICKS, SHIPPED_FILES
from lib.settings import APP_DIR
from tests.browser.ohif import WORLD_TO_PAGE, Ohif, Point
from tests.browser.painting import open_patient, series_of, stored_info, stored_label

pytestmark = pytest.mark.browser

# Neither a symmetric volume nor the usual order of slices, rows and columns.
ACQUISITION = Acquisition(shape=(40, 128, 128), spacing=(3, 2.4, 2.4), plane="feet_first_supine")
FIRST, SECOND = PhantomLesion((-78, 8, 22), 22), PhantomLesion((70, 10, -10), 18)


@pytest.fixture(scope="module")
def server(start_module_server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clicks")
    (folder / "model").mkdir()
    (folder / "model" / SHIPPED_FILES[CLICKS]).symlink_to(APP_DIR / "model" / SHIPPED_FILES[CLICKS])
    hu, _, affine = chest_volume(31, lesions=(FIRST, SECOND), acquisition=ACQUISITION)
    write_dicom_series(
        folder / "dicom",
        hu,
        affine,
        patient_id="NODULES",
        patient_position=ACQUISITION.patient_position,
        descending_instances=True,
    )
    return start_module_server(folder / "dicom", model_dir=folder / "model", scored_images=0)


def truth_of(lesion: PhantomLesion) -> np.ndarray:
    """Return the voxels of a lesion (slice, row, column), by its centre and diameter."""
    index = np.stack(np.meshgrid(*map(np.arange, ACQUISITION.shape), indexing="ij"), axis=-1)[..., ::-1]
    points = index @ ACQUISITION.affine[:3, :3].T + ACQUISITION.affine[:3, 3]
    return np.linalg.norm(points - lesion.center, axis=-1) <= lesion.diameter / 2


def beside(lesion: PhantomLesion, x: float = 0, y: float = 0, z: float = 0) -> Point:
    return lesion.center[0] + x, lesion.center[1] + y, lesion.center[2] + z


@dataclass(frozen=True)
class Answered:
    """A click that was answered.

    Attributes:
        params: Parameters of its request.
        outline: Answer of the server on the grid of the image, bool (slice, row, column).
    """

    params: dict
    outline: np.ndarray


class Clicker:
    """Clicks in one page."""

    def __init__(self, ohif: Ohif) -> None:
        self.ohif = ohif
        self.page = ohif.page

    def click(self, viewport: str, point: Point, *keys: str, button: str = "left") -> Answered:
        """Click a point of a plane with keys held down, and wait until the answer is in the mask."""
        self.ohif.show(point)
        x, y = self.page.evaluate(WORLD_TO_PAGE, [viewport, list(point)])
        for key in keys:
            self.page.keyboard.down(key)
        with self.page.expect_response(self._is_answer) as answer:
            self.page.mouse.move(x, y)
            self.page.mouse.click(x, y, button=button)
        for key in keys:
            self.page.keyboard.up(key)
        self.page.wait_for_function("() => !document.documentElement.classList.contains('lunglabel-waits')")
        region = Region.from_json(answer.value.json()["region"], ACQUISITION.shape[::-1], "region")
        outline = np.zeros(ACQUISITION.shape, bool)
        outline[region.window] = region.mask
        return Answered(_params(answer.value.request), outline)

    def preview(self, viewport: str, point: Point) -> None:
        """Rest at a point until an outline is shown, then move on."""
        self.ohif.show(point)
        outline = self.page.locator(".lunglabel-outline path")
        x, y = self.page.evaluate(WORLD_TO_PAGE, [viewport, list(point)])
        self.page.mouse.move(x, y)
        outline.wait_for(state="attached")
        assert outline.get_attribute("d").count("M") > 10, "sides of voxels"
        self.page.mouse.move(x + 3, y)
        outline.wait_for(state="detached")

    def mask(self) -> np.ndarray:
        return self.ohif.labelmap().values > 0

    def _is_answer(self, response: Response) -> bool:
        return "/infer/lung_tumor_click" in response.url and "preview" not in _params(response.request)


def check_place(click: Answered, kind: str, point: Point) -> None:
    """Assert that the last point of a kind is the voxel at a point, but for the rounding to pixels and slices."""
    column, row, slice_, _ = np.linalg.solve(ACQUISITION.affine, [*point, 1])
    np.testing.assert_allclose(click.params[kind][-1], [column, row, slice_], atol=1.01)


def share_of(lesion: PhantomLesion, outline: np.ndarray) -> float:
    """Return the share of a lesion that an outline covers."""
    truth = truth_of(lesion)
    return np.count_nonzero(outline & truth) / np.count_nonzero(truth)


def _params(request: Request) -> dict:
    body = request.post_data
    return json.loads(body[body.index("{") : body.rindex("}") + 1])


def test_clicks_outline_lesions_and_are_stored_with_the_label(server, page, page_problems, screenshot, tmp_path):
    ohif = Ohif(page, server.url)
    open_patient(ohif, "NODULES")
    clicker = Clicker(ohif)
    page.keyboard.press("c")
    clicker.preview("mpr-axial", FIRST.center)
    assert not clicker.mask().any(), "a preview changes nothing"

    first = clicker.click("mpr-axial", beside(FIRST, x=3, y=-2))
    assert np.array_equal(clicker.mask(), first.outline)
    check_place(first, "foreground", beside(FIRST, x=3, y=-2))
    assert share_of(FIRST, first.outline) > 0.5
    screenshot(page, "clicked")

    away = clicker.click("mpr-sagittal", beside(FIRST, y=16, z=2), "Shift")
    assert away.params["foreground"] == first.params["foreground"]
    check_place(away, "background", beside(FIRST, y=16, z=2))
    assert np.array_equal(clicker.mask(), away.outline)
    ohif.undo()
    assert np.array_equal(clicker.mask(), first.outline)

    second = clicker.click("mpr-coronal", beside(SECOND, x=2))
    check_place(second, "foreground", beside(SECOND, x=2))
    assert share_of(SECOND, second.outline) > 0.5
    assert np.array_equal(clicker.mask(), first.outline | second.outline)

    ohif.choose_tool("brush", diameter=8)
    ohif.show(FIRST.center)
    ohif.stroke("mpr-axial", beside(FIRST, y=-8), beside(FIRST, y=-45))
    painted = clicker.mask() & ~second.outline
    assert np.count_nonzero(painted) > np.count_nonzero(first.outline)
    page.keyboard.press("c")
    third = clicker.click("mpr-axial", beside(FIRST, x=-4))
    former = Region.from_json(third.params["former"], ACQUISITION.shape[::-1], "former")
    assert np.array_equal(former.mask, painted[former.window])
    assert former.mask.sum() == painted.sum()
    assert third.params["background"] == [], "undone with its click"
    assert np.array_equal(clicker.mask(), third.outline | second.outline), "the other lesion is as it was"

    right = clicker.click("mpr-axial", beside(FIRST, y=9), button="right")
    screenshot(page, "refined")
    assert ohif.submit("Dr. Reader") == "Label 1 is stored."
    series = series_of(server.url, "NODULES")
    stored = sitk.GetArrayFromImage(stored_label(server.url, series, tmp_path))
    assert np.array_equal(stored > 0, clicker.mask())
    clicks = stored_info(server.url, series)["clicks"]
    found = [(click["lesion"], click["kind"]) for click in clicks]
    assert found == [(1, "foreground"), (2, "foreground"), (1, "foreground"), (1, "background")]
    assert clicks[3]["points"] == right.params["background"]
    assert page_problems.other_than_dropped(server.url) == [], "other than dropped previews"
