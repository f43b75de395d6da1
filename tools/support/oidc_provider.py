"""An OpenID provider (npm's oidc-provider) on this machine, for tests and the fuzzer."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import requests

from lib.settings import APP_DIR
from tools.support.processes import free_port, serving

INSTALL = "The OpenID provider is not installed: apt-get install nodejs npm, then npm ci"
SECRET = "secret of the client"
_SCRIPT = Path(__file__).with_suffix(".mjs")
_FORM = re.compile(r'action="(/interaction/[^"]+)"')


def oidc_provider_is_installed() -> bool:
    """Return whether Node.js and the package oidc-provider are installed."""
    return shutil.which("node") is not None and (APP_DIR / "node_modules" / "oidc-provider").is_dir()


@dataclass(frozen=True)
class OidcProvider:
    """A running provider, whose accounts are all names with the password ``password of NAME``.

    Attributes:
        issuer: Its URL.
    """

    issuer: str

    def access_token(self, name: str, client: str = "lunglabel") -> str:
        """Return an access token of a person: a JWT with Keycloak's roles for ``lunglabel``, opaque for ``groups``."""
        grant = {"grant_type": "password", "username": name, "password": f"password of {name}"}
        answer = requests.post(
            f"{self.issuer}/token", data={**grant, "scope": "openid profile"}, auth=(client, SECRET), timeout=30
        )
        answer.raise_for_status()
        return answer.json()["access_token"]

    def change_role(self, name: str, role: str) -> None:
        """Give a person another role such as ``monailabel-user``, or none."""
        requests.get(f"{self.issuer}/roles", params={"name": name, "role": role}, timeout=30).raise_for_status()

    def disable(self, name: str) -> None:
        """Disable the account of a person."""
        requests.get(f"{self.issuer}/disabled", params={"name": name}, timeout=30).raise_for_status()

    def sign_in(self, url: str, name: str, *, button: str = "login") -> str:
        """Follow a browser from the authorization endpoint through the form, and return the URL that it leads back to.

        Args:
            url: URL of the authorization endpoint with its query.
            name: Name that is typed.
            button: ``login`` or ``cancel``.
        """
        browser = requests.Session()
        form = browser.get(url, timeout=30)
        found = _FORM.search(form.text)
        assert found, form.text
        typed = {"name": name, "password": f"password of {name}", "do": button}
        answer = browser.post(urljoin(self.issuer, found[1]), data=typed, timeout=30, allow_redirects=False)
        while answer.headers["Location"].startswith(self.issuer):
            answer = browser.get(answer.headers["Location"], timeout=30, allow_redirects=False)
        return answer.headers["Location"]


@contextlib.contextmanager
def oidc_provider(directory: Path, *redirect_uris: str, port: int | None = None) -> Iterator[OidcProvider]:
    """Run a provider within the context.

    Args:
        directory: Folder of its log.
        redirect_uris: URLs that it may lead back to.
        port: Its port; default: a free one.
    """
    port = port or free_port()
    issuer = f"http://localhost:{port}"
    command = ["node", str(_SCRIPT), str(port), *redirect_uris]
    with serving(command, url=issuer, ready="/.well-known/openid-configuration", directory=directory, timeout=60):
        yield OidcProvider(issuer)
