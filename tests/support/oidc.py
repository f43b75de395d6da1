"""The OpenID provider fixture."""

import contextlib
from collections.abc import Callable, Iterator

import pytest

from tests.support.requirement import skip_or_fail
from tools.support.oidc_provider import INSTALL, OidcProvider, oidc_provider, oidc_provider_is_installed


@pytest.fixture(scope="module")
def start_oidc_provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., OidcProvider]]:
    """Return ``start_oidc_provider(redirect_uri, port=…)``, whose providers stop with the test module."""
    if not oidc_provider_is_installed():
        skip_or_fail(INSTALL)
    with contextlib.ExitStack() as providers:

        def start(*redirect_uris: str, port: int | None = None) -> OidcProvider:
            directory = tmp_path_factory.mktemp("provider")
            return providers.enter_context(oidc_provider(directory, *redirect_uris, port=port))

        yield start
