"""The machine's own Chromium, without a screen or a graphics card."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.requirement import find_program

ARGUMENTS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


# OHIF asks whether a training runs; MONAI Label's answer for no is 404.
NO_TRAINING = "/train/?check_if_running=true"


@dataclass
class PageProblems:
    """What went wrong in a page, one line each."""

    console_errors: list[str] = field(default_factory=list)
    failed_requests: list[str] = field(default_factory=list)

    def of(self, url: str) -> list[str]:
        """Uncaught errors, and requests below ``url`` that failed. Other sites cannot be reached from a test."""
        uncaught = [line for line in self.console_errors if line.startswith("uncaught")]
        return uncaught + [line for line in self.failed_requests if url in line and NO_TRAINING not in line]

    def watch(self, page: Page) -> None:
        """Record everything that goes wrong in ``page`` from now on."""
        page.on("console", lambda m: m.type == "error" and self.console_errors.append(m.text))
        page.on("pageerror", lambda error: self.console_errors.append(f"uncaught: {error}"))
        page.on("requestfailed", lambda r: self.failed_requests.append(f"{r.failure} {r.method} {r.url}"))
        page.on(
            "response",
            lambda r: r.status >= 400 and self.failed_requests.append(f"{r.status} {r.request.method} {r.url}"),
        )


# One per file: while Playwright's synchronous interface is open, asyncio.run() fails in the same thread.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A started browser."""
    program = find_program(
        "chromium",
        "chromium-browser",
        "google-chrome",
        sentence="Chromium is not installed: apt-get install chromium",
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS, headless=False, timeout=120_000)
        yield browser
        browser.close()


@pytest.fixture
def page_problems() -> PageProblems:
    """Problems of the ``page`` of this test."""
    return PageProblems()


@pytest.fixture
def page(chromium: Browser, page_problems: PageProblems) -> Iterator[Page]:
    """A new page without cookies, 1600 × 1000."""
    context = chromium.new_context(viewport={"width": 1600, "height": 1000})
    page = context.new_page()
    page_problems.watch(page)
    yield page
    context.close()


@pytest.fixture(scope="session")
def screenshot(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Page, str], Path]:
    """``screenshot(page, name)`` writes ``name``.png to LUNGLABEL_SCREENSHOTS or a temporary folder."""
    folder = os.environ.get("LUNGLABEL_SCREENSHOTS")
    directory = Path(folder) if folder else tmp_path_factory.mktemp("screenshots")
    directory.mkdir(parents=True, exist_ok=True)

    def write(page: Page, name: str) -> Path:
        path = directory / f"{name}.png"
        page.screenshot(path=path)
        return path

    return write
