"""The OpenID provider fixture."""

import contextlib
from collections.abc import Callable, Iterator

import pytest

from tests.support.requirement import skip_or_fail
from tools.support.oidc_provider import INSTALL, OidcProvider, oidc_provider, oidc_provider_is_installed


@pytest.fixture(scope="module")
def start_oidc_provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., OidcProvider]]:
    """Return ``start_oidc_provider(redirect_uri)``, whose providers stop with the test module."""
    if not oidc_provider_is_installed():
        skip_or_fail(INSTALL)
    with contextlib.ExitStack() as providers:
        yield lambda *uris: providers.enter_context(oidc_provider(tmp_path_factory.mktemp("provider"), *uris))
