"""Detection of requests from foreign pages."""

import pytest

from lib.server.access.origins import foreign_origin

HOST = {"host": "127.0.0.1:8000"}
BROWSER = {**HOST, "user-agent": "Mozilla/5.0 (X11; Linux x86_64)"}
OWN = {"origin": "http://127.0.0.1:8000"}
FOREIGN = {"origin": "http://evil.example"}


def is_foreign(method: str, headers: dict[str, str], *, expensive: bool = False, page: bool = False) -> bool:
    return foreign_origin(method, headers, expensive=expensive, page=page) is not None


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize(
    ("headers", "foreign"),
    [
        ({}, False),  # a program
        ({"sec-fetch-site": "same-origin"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"sec-fetch-site": "cross-site"}, True),
        ({"sec-fetch-site": "same-site"}, True),  # another port of this machine
        ({"sec-fetch-site": "nonsense"}, True),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}, True),
        (OWN, False),
        (FOREIGN, True),
        ({"origin": "null"}, True),
        ({"origin": ""}, True),
        ({"origin": "http://127.0.0.1:8001"}, True),
        ({"origin": "http://127.0.0.1:8000.evil.example"}, True),
        ({"origin": "http://["}, True),
        ({**BROWSER}, True),  # a browser without Origin, Referer or Sec-Fetch-Site
        ({**BROWSER, "referer": "http://127.0.0.1:8000/ohif/"}, False),
        ({**BROWSER, "referer": "http://evil.example/127.0.0.1:8000"}, True),
    ],
)
def test_unsafe_methods_are_for_own_pages_and_programs(method, headers, foreign):
    """S2: simple requests of foreign pages are rejected."""
    assert is_foreign(method, {**HOST, **headers}) is foreign
    assert is_foreign(method, {**HOST, **headers}, page=True) is foreign


@pytest.mark.parametrize(
    ("headers", "foreign"),
    [
        (HOST, False),
        ({**BROWSER, "sec-fetch-site": "same-origin"}, False),
        ({**BROWSER, "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}, True),
        # Browsers do not send Sec-Fetch-Site over plain HTTP to another machine.
        (BROWSER, True),
        ({**BROWSER, "referer": "http://evil.example/"}, True),
        ({**BROWSER, "referer": "http://127.0.0.1:8000/ohif/monai-label?StudyInstanceUIDs=1.2"}, False),
    ],
)
def test_expensive_reads_are_for_own_pages_and_programs(headers, foreign):
    """S2: <img src=…/attention/UID> on a foreign page starts no inference."""
    assert is_foreign("GET", headers, expensive=True) is foreign


def test_foreign_links_open_pages_only():
    """S2: navigation to a page is allowed; frames and data are not."""
    opened = {**BROWSER, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert not is_foreign("GET", opened, page=True)
    assert is_foreign("GET", opened)
    assert is_foreign("GET", {**opened, "sec-fetch-dest": "iframe"}, page=True)
    assert is_foreign("GET", {**HOST, **FOREIGN})


def test_configured_origins_are_allowed():
    """S2: MONAI_LABEL_CORS_ORIGINS."""
    allowed = {"http://viewer.example"}
    headers = {**HOST, "origin": "http://viewer.example", "sec-fetch-site": "cross-site"}
    assert foreign_origin("POST", headers, expensive=False, page=False, allowed=allowed) is None
    assert foreign_origin("POST", {**headers, **FOREIGN}, expensive=False, page=False, allowed=allowed)
