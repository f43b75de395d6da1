"""Fixtures for headless Chromium without a GPU."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, ViewportSize

from tests.support.requirement import find_program
from tools.support.chromium import PROGRAMS, running_chromium

# As large as the smallest screen that the panel is made for. Software renders each pixel, which took more time than all
# else: the layout is that of the whole screen, but a pixel covers two by two, unless somebody wants to see pictures.
SCREEN: ViewportSize = {"width": 1366, "height": 768}
PICTURES = os.environ.get("LUNGLABEL_SCREENSHOTS")
WINDOW: dict[str, Any] = {"viewport": SCREEN, "device_scale_factor": 1 if PICTURES else 0.5}

# OHIF polls for a running training; MONAI Label answers 404 when there is none.
NO_TRAINING = "/train/?check_if_running=true"
POSTS_THAT_READ = ("/infer/", "/viewer/comparison", "/viewer/prepare")

# OHIF keeps uncaught errors from the console, and shows a message for a few seconds instead.
REPORT_ERRORS_OF_PANEL = """for (const type of ['error', 'unhandledrejection']) window.addEventListener(type, event => {
    const {stack = ''} = event.error ?? event.reason ?? {};
    if (stack.includes('/lunglabel/')) console.error(`uncaught: ${stack}`);
}, {capture: true});"""


@dataclass
class PageProblems:
    """Console errors and failed requests of a page, one line each."""

    console_errors: list[str] = field(default_factory=list)
    failed_requests: list[str] = field(default_factory=list)

    def of(self, url: str) -> list[str]:
        """Return uncaught errors and failed requests below ``url``; tests cannot reach other sites."""
        uncaught = [line for line in self.console_errors if line.startswith("uncaught")]
        return uncaught + [line for line in self.failed_requests if url in line and NO_TRAINING not in line]

    def other_than_dropped(self, url: str) -> list[str]:
        """Return what :meth:`of` does, without requests that change nothing and that the page no longer waited for."""
        return [line for line in self.of(url) if not _dropped_request(line)]

    def watch(self, page: Page) -> None:
        """Record every error of ``page`` from now on."""
        page.add_init_script(REPORT_ERRORS_OF_PANEL)
        page.on("console", lambda m: m.type == "error" and self.console_errors.append(m.text))
        page.on("pageerror", lambda error: self.console_errors.append(f"uncaught: {error}"))
        page.on("requestfailed", lambda r: self.failed_requests.append(f"{r.failure} {r.method} {r.url}"))
        page.on(
            "response",
            lambda r: r.status >= 400 and self.failed_requests.append(f"{r.status} {r.request.method} {r.url}"),
        )


def _dropped_request(line: str) -> bool:
    if line.startswith("net::ERR_ABORTED POST "):
        return any(path in line for path in POSTS_THAT_READ)
    return line.startswith("net::ERR_ABORTED GET ")


# One per module: while Playwright's synchronous API is open, asyncio.run() fails in the same thread.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Yield a running browser."""
    find_program(*PROGRAMS, message="Chromium is not installed: apt-get install chromium")
    with running_chromium() as browser:
        yield browser


@pytest.fixture
def page_problems() -> PageProblems:
    """Return the recorder of problems on this test's ``page``."""
    return PageProblems()


@pytest.fixture
def page(chromium: Browser, page_problems: PageProblems) -> Iterator[Page]:
    """Yield a new page without cookies."""
    context = chromium.new_context(**WINDOW)
    page = context.new_page()
    page_problems.watch(page)
    yield page
    context.close()


@pytest.fixture(scope="session")
def screenshot(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Page, str], Path]:
    """Return ``screenshot(page, name)``, which writes ``name``.png to LUNGLABEL_SCREENSHOTS or a temporary folder."""
    directory = Path(PICTURES) if PICTURES else tmp_path_factory.mktemp("screenshots")
    directory.mkdir(parents=True, exist_ok=True)

    def write(page: Page, name: str) -> Path:
        path = directory / f"{name}.png"
        page.screenshot(path=path)
        return path

    return write
