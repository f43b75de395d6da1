"""Paths below the prefix of a reverse proxy."""

import pytest

from lib.server.access.path_prefix import below_prefix, path_of, raw_path_of


@pytest.mark.parametrize(
    ("prefix", "path"), [("", "/info/"), ("/lung", "/info/"), ("/lung", "/lung/"), ("/a/b", "/x%2F")]
)
def test_paths_inside_the_server_have_no_prefix(prefix, path):
    """uvicorn puts the prefix before the path of each request; it is removed once."""
    scope = {"root_path": prefix, "path": prefix + path, "raw_path": (prefix + path).encode()}
    assert (path_of(scope), raw_path_of(scope)) == (path, path.encode())
    assert raw_path_of({"path": "/", "root_path": prefix}) is None


def test_redirects_to_own_paths_get_the_prefix():
    def redirected(location: bytes) -> bytes:
        return dict(below_prefix([(b"Location", location)], "/lung"))[b"Location"]

    assert redirected(b"/status?a=1") == b"/lung/status?a=1"
    for elsewhere in (b"https://sso.example/auth", b"//evil.example"):
        assert redirected(elsewhere) == elsewhere
    assert below_prefix([(b"location", b"/status")], "") == [(b"location", b"/status")]
