"""The bundled OHIF viewer as a person uses it: study list, MONAI Label mode, Run."""

import base64
import io
import re
from dataclasses import dataclass

import numpy as np
from PIL import Image
from playwright.sync_api import Locator, Page, expect

# Chromium draws in software here, so a busy machine may take long; nothing below waits longer than needed.
PATIENCE_MS = 90_000
expect.set_options(timeout=PATIENCE_MS)

MPR_VIEWPORTS = ("mpr-axial", "mpr-sagittal", "mpr-coronal")

VOLUME_LOADED = """ids => ids.every(id => {
    const viewport = window.services?.cornerstoneViewportService.getCornerstoneViewport(id);
    const volumeId = viewport?.getVolumeId?.();
    return volumeId && window.cornerstone.cache.getVolume(volumeId)?.loadStatus.loaded;
})"""

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

# Moves each viewport along its own normal until its plane holds the point, and waits until it is drawn.
SHOW_POINT = """async ([ids, point]) => {
    const rendered = window.cornerstone.Enums.Events.IMAGE_RENDERED;
    for (const id of ids) {
        const viewport = window.services.cornerstoneViewportService.getCornerstoneViewport(id);
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
    """The mask that the viewer holds, where the viewer holds it.

    Attributes:
        values: uint8 (slices, rows, columns) of the viewer's volume.
        affine: 4 × 4, from (column, row, slice, 1) to LPS mm.
    """

    values: np.ndarray
    affine: np.ndarray

    def points(self) -> np.ndarray:
        """(n, 3) LPS mm of all labelled voxels."""
        return np.argwhere(self.values)[:, ::-1] @ self.affine[:3, :3].T + self.affine[:3, 3]


class Ohif:
    """OHIF in one browser page."""

    def __init__(self, page: Page, server_url: str) -> None:
        self.page = page
        self.server_url = server_url
        page.set_default_timeout(PATIENCE_MS)

    def open_study_list(self) -> dict[str, str]:
        """Open the start page; returns StudyInstanceUID → text of its row."""
        self.page.goto(f"{self.server_url}/ohif/")
        self.page.locator('[data-cy="study-list-results"]').wait_for()
        rows = self.page.locator('[data-cy^="studyRow-"]').all()
        return {row.get_attribute("data-cy").removeprefix("studyRow-"): row.inner_text() for row in rows}

    def open_monai_label(self, study_uid: str) -> None:
        """From the study list, open a study in MONAI Label mode and wait for its pixels."""
        self.page.locator(f'tr[data-cy="{study_uid}"]').click()
        self.page.locator(f'[data-cy="mode-monai-label-{study_uid}"]').click()
        self.page.wait_for_function(VOLUME_LOADED, arg=list(MPR_VIEWPORTS))

    def side_panel_dates(self) -> list[str]:
        """Dates of the studies that the side panel lists, such as 05-Jan-2026: those of this patient."""
        panel = self.page.locator('[data-cy="studyBrowser-panel"]')
        panel.locator('[data-cy="study-browser-thumbnail"]').first.wait_for()
        return re.findall(r"\d{2}-[A-Z][a-z]{2}-\d{4}", panel.inner_text())

    def wait_until_connected(self) -> str:
        """Wait until the mask can be painted on, without a click; returns the server's address in the panel."""
        self.page.locator('button[title="Run Segmentation"]').wait_for()
        self.page.locator('[data-tool="brush"]:enabled').wait_for()
        return self.page.locator("#monailabelServerURL").input_value()

    def series(self) -> str:
        """SeriesInstanceUID on the screen."""
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
        """What the viewer shows as segmentation."""
        read = self.page.evaluate(READ_LABELMAP)
        columns, rows, slices = read["dimensions"]
        values = np.frombuffer(base64.b64decode(read["values"]), np.uint8).reshape(slices, rows, columns)
        affine = np.eye(4)
        # One direction after the other: of columns, of rows, of slices.
        affine[:3, :3] = np.array(read["direction"]).reshape(3, 3).T * read["spacing"]
        affine[:3, 3] = read["origin"]
        return Labelmap(values, affine)

    def hu_at(self, points: np.ndarray) -> np.ndarray:
        """HU that the viewer holds at (n, 3) points, LPS in mm."""
        return np.array(self.page.evaluate(READ_HU, np.asarray(points, float).tolist()))

    def choose_tool(self, tool: str, *, diameter: float = 10, ball: bool = False) -> None:
        """Take brush, eraser or threshold, with a diameter in mm."""
        button = self.page.locator(f'[data-tool="{tool}"]')
        if button.get_attribute("aria-pressed") != "true":
            button.click()
        self.page.locator('[data-part="size"]').fill(str(diameter))
        self.page.locator('[data-part="ball"]').set_checked(ball)

    def stroke(self, viewport: str, start: Point, end: Point) -> None:
        """With the left mouse button, draw from one point to another, LPS in mm, both in the viewport's plane."""
        for number, point in enumerate((start, end)):
            self.page.mouse.move(*self.page.evaluate(WORLD_TO_PAGE, [viewport, list(point)]), steps=8)
            if number == 0:
                self.page.mouse.down()
        self.page.mouse.up()
        self.page.evaluate(
            "() => new Promise(done => setTimeout(done))"
        )  # the panel notes the stroke in a task of its own

    def press_at(self, key: str, viewport: str, point: Point) -> None:
        """Press a key while the pointer is at a point, LPS in mm, in the viewport's plane."""
        self.page.mouse.move(*self.page.evaluate(WORLD_TO_PAGE, [viewport, list(point)]))
        self.page.keyboard.press(key)

    def undo(self) -> None:
        """Take the last stroke back, by keyboard."""
        self.page.keyboard.press("Control+z")

    def redo(self) -> None:
        """Do it again."""
        self.page.keyboard.press("Control+y")

    def show_series(self, description: str, slices: int) -> None:
        """Put another series of the study on the screen, and wait for a mask of as many slices as it has."""
        self.page.locator('[data-cy="study-browser-thumbnail"]', has_text=description).dblclick()
        self.page.wait_for_function(LABELMAP_HAS_SLICES, arg=slices)
        self.wait_until_connected()

    def button(self, name: str) -> Locator:
        """A button of the panel: run, attention, load, undo, find, submit, next; train, stop."""
        if name == "run":
            return self.page.locator('button[title="Run Segmentation"]')
        return self.page.locator(f'[data-part="{name}"], [data-status="{name}"]')

    def press(self, name: str) -> str:
        """Press a button of the panel; returns what the panel says then."""
        self.button(name).click()
        return self.message()

    def status(self, line: str) -> Locator:
        """A line at the panel's top: cases, model, training, verdict."""
        return self.page.locator(f'[data-status="{line}"]')

    def submit(self, annotator: str = "", note: str = "") -> str:
        """Submit the mask; returns what the panel says then."""
        if annotator:
            self.page.locator('[data-part="annotator"]').fill(annotator)
        self.page.locator('[data-part="note"]').fill(note)
        return self.press("submit")

    def load_label(self) -> str:
        """Load the stored label that the panel offers; returns what the panel says then."""
        return self.press("load")

    def message(self) -> str:
        """What the panel says at last: that it is done, or why not."""
        message = self.page.locator('[data-part="message"].success, [data-part="message"].problem')
        message.wait_for()
        return message.inner_text()

    def show(self, point: Point) -> None:
        """Move all three planes to a point, LPS in mm."""
        self.page.evaluate(SHOW_POINT, [list(MPR_VIEWPORTS), list(point)])

    def colour_at(self, viewport: str, point: Point) -> tuple[int, int, int]:
        """Red, green and blue on the screen where a viewport draws a point, LPS in mm."""
        x, y = self.page.evaluate(WORLD_TO_PAGE, [viewport, list(point)])
        screen = self.page.screenshot(clip={"x": round(x), "y": round(y), "width": 1, "height": 1})
        return Image.open(io.BytesIO(screen)).convert("RGB").getpixel((0, 0))
