"""Page object of the bundled OHIF viewer: study list, MONAI Label mode and panel."""

import base64
import io
import re
from dataclasses import dataclass

import numpy as np
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tools.support.chromium import MPR_VIEWPORTS, VOLUME_LOADED

# Chromium renders in software here, which may take long on a busy machine; waits end as soon as possible.
PATIENCE_MS = 90_000
expect.set_options(timeout=PATIENCE_MS)

LABELMAP_HAS_SLICES = """count => {
    const service = window.services.segmentationService;
    return service.getSegmentations().length && service.getLabelmapVolume('1')?.dimensions[2] === count;
}"""

COUNT_LABELMAP_CHANGES = """() => {
    window.labelmapChanges = 0;
    const changed = window.cornerstoneTools.Enums.Events.SEGMENTATION_DATA_MODIFIED;
    window.cornerstone.eventTarget.addEventListener(changed, () => window.labelmapChanges++);
}"""

SHOWN_SERIES = """() => {
    const {viewports, activeViewportId} = window.services.viewportGridService.getState();
    const [uid] = viewports.get(activeViewportId).displaySetInstanceUIDs;
    return window.services.displaySetService.getDisplaySetByUID(uid).SeriesInstanceUID;
}"""

READ_LABELMAP = """() => {
    const volume = window.services.segmentationService.getLabelmapVolume('1');
    const values = Uint8Array.from(volume.voxelManager.getCompleteScalarDataArray());
    let text = '';
    for (let i = 0; i < values.length; i += 32768)
        text += String.fromCharCode.apply(null, values.subarray(i, i + 32768));
    return {
        values: btoa(text),
        dimensions: Array.from(volume.dimensions),
        spacing: Array.from(volume.spacing),
        direction: Array.from(volume.direction),
        origin: Array.from(volume.origin),
    };
}"""

READ_HU = """points => {
    const viewport = window.services.cornerstoneViewportService.getCornerstoneViewport('mpr-axial');
    const volume = window.cornerstone.cache.getVolume(viewport.getVolumeId());
    return points.map(point => volume.voxelManager.getAtIJKPoint(volume.imageData.worldToIndex(point).map(Math.round)));
}"""

# Shows the whole image in each viewport, in the plane that contains the point, and waits until it is rendered.
SHOW_POINT = """async ([ids, point]) => {
    const rendered = window.cornerstone.Enums.Events.IMAGE_RENDERED;
    for (const id of ids) {
        const viewport = window.services.cornerstoneViewportService.getCornerstoneViewport(id);
        viewport.resetCamera({resetPan: true, resetZoom: true, resetToCenter: false});
        const {focalPoint, position, viewPlaneNormal: normal} = viewport.getCamera();
        const step = normal.reduce((sum, n, i) => sum + n * (point[i] - focalPoint[i]), 0);
        const moved = start => start.map((x, i) => x + step * normal[i]);
        const drawn = new Promise(done => viewport.element.addEventListener(rendered, done, {once: true}));
        viewport.setCamera({focalPoint: moved(focalPoint), position: moved(position)});
        viewport.render();
        await drawn;
    }
}"""

WORLD_TO_PAGE = """([id, point]) => {
    const viewport = window.services.cornerstoneViewportService.getCornerstoneViewport(id);
    const box = viewport.element.getBoundingClientRect();
    const [x, y] = viewport.worldToCanvas(point);
    return [box.x + x, box.y + y];
}"""


Point = tuple[float, float, float]


@dataclass(frozen=True)
class Labelmap:
    """The mask in the viewer and its position.

    Attributes:
        values: uint8 (slices, rows, columns) of the viewer's volume.
        affine: 4 × 4, from (column, row, slice, 1) to LPS mm.
    """

    values: np.ndarray
    affine: np.ndarray

    def points(self) -> np.ndarray:
        """Return the positions of all labelled voxels, (n, 3), LPS in mm."""
        return np.argwhere(self.values)[:, ::-1] @ self.affine[:3, :3].T + self.affine[:3, 3]


class Ohif:
    """OHIF in one browser page."""

    def __init__(self, page: Page, server_url: str) -> None:
        self.page = page
        self.server_url = server_url
        page.set_default_timeout(PATIENCE_MS)

    def open_study_list(self) -> dict[str, str]:
        """Open the start page; return the text of each row by StudyInstanceUID."""
        self.page.goto(f"{self.server_url}/ohif/")
        self.page.locator('[data-cy="study-list-results"]').wait_for()
        rows = self.page.locator('[data-cy^="studyRow-"]').all()
        return {row.get_attribute("data-cy").removeprefix("studyRow-"): row.inner_text() for row in rows}

    def open_monai_label(self, study_uid: str) -> None:
        """Open a study from the study list in MONAI Label mode and wait for its pixels."""
        self.page.locator(f'tr[data-cy="{study_uid}"]').click()
        self.page.locator(f'[data-cy="mode-monai-label-{study_uid}"]').click()
        self.page.wait_for_function(VOLUME_LOADED, arg=list(MPR_VIEWPORTS))

    def side_panel_dates(self) -> list[str]:
        """Return the study dates in the side panel, such as 05-Jan-2026; it lists the studies of one patient."""
        self.unfold_studies()
        panel = self.page.locator('[data-cy="studyBrowser-panel"]')
        panel.locator('[data-cy="study-browser-thumbnail"]').first.wait_for()
        return re.findall(r"\d{2}-[A-Z][a-z]{2}-\d{4}", panel.inner_text())

    def unfold_studies(self) -> None:
        """Unfold the list of studies on the left, which is folded at first."""
        if not self.page.locator('[data-cy="study-browser-thumbnail"]').count():
            self.page.locator('[data-cy="seriesList-btn"]').click()

    def wait_until_connected(self) -> str:
        """Wait, without a click, until the mask can be edited; return the server's address in the panel."""
        self.page.locator('button[title="Run Segmentation"]').wait_for()
        self.page.locator('[data-tool="brush"]:enabled').wait_for()
        return self.page.locator("#monailabelServerURL").input_value()

    def series(self) -> str:
        """Return the SeriesInstanceUID on the screen."""
        return self.page.evaluate(SHOWN_SERIES)

    def run_auto_segmentation(self, model: str) -> None:
        """Choose a model, click Run and wait until its mask is in the viewer."""
        self.page.evaluate(COUNT_LABELMAP_CHANGES)
        run = self.button("run")
        self.page.locator(".tab", has=run).locator("select").select_option(model)
        with self.page.expect_response(lambda r: "/infer/" in r.url and r.request.method == "POST") as answer:
            run.click()
        if answer.value.status != 200:
            raise RuntimeError(f"infer answered {answer.value.status}: {answer.value.text()}")
        self.page.wait_for_function("() => window.labelmapChanges > 0")

    def labelmap(self) -> Labelmap:
        """Return the segmentation in the viewer."""
        read = self.page.evaluate(READ_LABELMAP)
        columns, rows, slices = read["dimensions"]
        values = np.frombuffer(base64.b64decode(read["values"]), np.uint8).reshape(slices, rows, columns)
        affine = np.eye(4)
        # The directions of columns, rows and slices, one after the other.
        affine[:3, :3] = np.array(read["direction"]).reshape(3, 3).T * read["spacing"]
        affine[:3, 3] = read["origin"]
        return Labelmap(values, affine)

    def hu_at(self, points: np.ndarray) -> np.ndarray:
        """Return the HU in the viewer at (n, 3) points, LPS in mm."""
        return np.array(self.page.evaluate(READ_HU, np.asarray(points, float).tolist()))

    def choose_tool(self, tool: str, *, diameter: float = 10, ball: bool = False) -> None:
        """Choose brush, eraser or threshold brush, with a diameter in mm."""
        button = self.page.locator(f'[data-tool="{tool}"]')
        if button.get_attribute("aria-pressed") != "true":
            button.click()
        self.page.locator('[data-part="size"]').fill(str(diameter))
        self.page.locator('[data-part="ball"]').set_checked(ball)

    def stroke(self, viewport: str, *points: Point) -> None:
        """Drag with the left mouse button from point to point in the viewport's plane, LPS in mm."""
        for number, point in enumerate(points):
            self.page.mouse.move(*self.page.evaluate(WORLD_TO_PAGE, [viewport, list(point)]), steps=8)
            if number == 0:
                self.page.mouse.down()
        self.page.mouse.up()
        # the panel records the stroke in a separate task
        self.page.evaluate("() => new Promise(done => setTimeout(done))")

    def draw(self, viewport: str, points: tuple[Point, ...]) -> None:
        """Show the plane of some points, LPS in mm, and drag along them."""
        self.show(points[0])
        self.stroke(viewport, *points)

    def press_at(self, key: str, viewport: str, point: Point) -> None:
        """Press a key while the pointer is at a point in the viewport's plane, LPS in mm."""
        self.page.mouse.move(*self.page.evaluate(WORLD_TO_PAGE, [viewport, list(point)]))
        self.page.keyboard.press(key)

    def undo(self) -> None:
        """Undo the last stroke with the keyboard."""
        self.page.keyboard.press("Control+z")

    def redo(self) -> None:
        """Redo the last undone stroke with the keyboard."""
        self.page.keyboard.press("Control+y")

    def show_series(self, description: str, slices: int) -> None:
        """Show another series of the study and wait for a mask with its number of slices."""
        self.unfold_studies()
        self.page.locator('[data-cy="study-browser-thumbnail"]', has_text=description).dblclick()
        self.page.wait_for_function(LABELMAP_HAS_SLICES, arg=slices)
        self.wait_until_connected()

    def button(self, name: str) -> Locator:
        """Return a button of the panel: run, attention, load, undo, find, submit, next; train, stop, use, back."""
        if name == "run":
            return self.page.locator('button[title="Run Segmentation"]')
        if name in ("use", "back"):  # of the automatic model
            return self.page.locator(f'[data-model="lung_tumor"] [data-version="{name}"]')
        return self.page.locator(f'[data-part="{name}"], [data-status="{name}"]')

    def press(self, name: str) -> str:
        """Press a button of the panel; return the message then shown."""
        self.button(name).click()
        return self.message()

    def status(self, line: str) -> Locator:
        """Return a status line of the panel: cases, model, training, verdict."""
        return self.page.locator(f'[data-status="{line}"]')

    def submit(self, annotator: str = "", note: str = "") -> str:
        """Submit the mask; return the message then shown."""
        if annotator:
            self.page.locator('[data-part="annotator"]').fill(annotator)
        self.page.locator('[data-part="note"]').fill(note)
        return self.press("submit")

    def load_label(self) -> str:
        """Load the stored label that the panel offers; return the message then shown."""
        return self.press("load")

    def message(self) -> str:
        """Wait for the result of an action, success or problem, and return its message."""
        message = self.page.locator('[data-part="message"].success, [data-part="message"].problem')
        message.wait_for()
        return message.inner_text()

    def show(self, point: Point) -> None:
        """Move all three planes to a point, LPS in mm."""
        self.show_in(point, *MPR_VIEWPORTS)

    def show_in(self, point: Point, *viewports: str) -> None:
        """Move some planes to a point, LPS in mm."""
        self.page.evaluate(SHOW_POINT, [list(viewports), list(point)])

    def colour_at(self, viewport: str, point: Point) -> tuple[int, int, int]:
        """Return the red, green and blue values on the screen at a point of a viewport, LPS in mm."""
        x, y = self.page.evaluate(WORLD_TO_PAGE, [viewport, list(point)])
        # a pixel at least, however large it is on the page
        screen = self.page.screenshot(clip={"x": round(x) - 1, "y": round(y) - 1, "width": 2, "height": 2})
        return Image.open(io.BytesIO(screen)).convert("RGB").getpixel((0, 0))
