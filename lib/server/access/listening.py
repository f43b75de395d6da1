"""On which address the server listens, and whether it may."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psutil
import uvicorn

from lib.errors import UserError


@dataclass(frozen=True)
class Listening:
    """Where the server listens.

    Attributes:
        hosts: Names or addresses it is bound to; an empty one and ``0.0.0.0`` and ``::`` are every interface.
        port: TCP port.
        https: Whether it speaks TLS itself.
        root_path: Path below which a reverse proxy offers it, or "".
    """

    hosts: tuple[str, ...]
    port: int
    https: bool = False
    root_path: str = ""

    @property
    def is_local(self) -> bool:
        """Whether only programs of this machine can connect."""
        return all(_is_loopback(host) for host in self.hosts)

    @property
    def url(self) -> str:
        """Address to open on this machine."""
        host = self.hosts[0]
        if _is_wildcard(host):
            host = "::1" if ":" in host else "127.0.0.1"
        return self._url_of(host)

    @property
    def network_url(self) -> str | None:
        """Address to open on other machines; None where they cannot connect."""
        if self.is_local:
            return None
        host = next(host for host in self.hosts if not _is_loopback(host))
        return self._url_of(socket.gethostname() if _is_wildcard(host) else host)

    def names(self) -> set[str]:
        """Return the names and addresses under which this machine is reached there, in small letters."""
        names = {"localhost", *(host.lower() for host in self.hosts if host and not _is_wildcard(host))}
        if self.is_local:
            return names
        own = socket.gethostname().lower()
        return names | {own, f"{own.partition('.')[0]}.local", socket.getfqdn().lower()} | _own_addresses()

    def _url_of(self, host: str) -> str:
        scheme = "https" if self.https else "http"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"


def listening_of(server: uvicorn.Server, sockets: list[socket.socket] | None) -> Listening:
    """Return where ``server`` listens, or will."""
    config = server.config
    bound = [one.getsockname() for one in sockets or [] if one.family in (socket.AF_INET, socket.AF_INET6)]
    return Listening(
        hosts=tuple(address[0] for address in bound) or (config.host or "",),
        port=bound[0][1] if bound else config.port,
        https=bool(config.ssl_keyfile or config.ssl_certfile),
        root_path=config.root_path,
    )


def check_start(listening: Listening, rules: Mapping[str, Any], *, login_by_keycloak: bool) -> None:
    """Refuse a start that would open the patients' data, or a viewer that cannot work.

    Args:
        listening: Where the server is about to listen.
        rules: The section ``server`` of the configuration.
        login_by_keycloak: Whether ``MONAI_LABEL_AUTH_ENABLE`` is set.

    Raises:
        UserError: It must not start; the sentence says how it may.
    """
    if login_by_keycloak:
        raise UserError(
            "MONAI_LABEL_AUTH_ENABLE is set, but MONAI Label's login refuses valid tokens with the PyJWT of today, and "
            "OHIF cannot be opened with it. Unset it and keep the server on this machine: --host 127.0.0.1."
        )
    if listening.root_path:
        raise UserError(
            f"--root_path {listening.root_path} is not supported: OHIF is built for the path /ohif/ of its host and "
            "stays blank below another. Let the reverse proxy offer this server under a name or port of its own, "
            "without --root_path, and allow that name: --conf allowed_hosts NAME."
        )
    if not listening.is_local and not rules["allow_network"]:
        address = next(host for host in listening.hosts if not _is_loopback(host)) or "every address"
        raise UserError(
            f"The server would listen on {address}, where everybody in the network could read and change every image, "
            "label and model without a login. Add --host 127.0.0.1 to serve this machine only, or, if everybody in the "
            "network may, --conf allow_network true."
        )


def open_network_warning(listening: Listening) -> str | None:
    """Return what must be said of a server that others can reach; None of one that they cannot."""
    if listening.is_local:
        return None
    return (
        f"Everybody who can reach {listening.network_url} can read and change everything here, without a login: "
        "images, labels and models (--conf allow_network true)."
    )


def is_address(host: str) -> bool:
    """Return whether ``host`` is an IP address, not a name."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _is_wildcard(host: str) -> bool:
    return not host or (is_address(host) and ipaddress.ip_address(host.partition("%")[0]).is_unspecified)


def _is_loopback(host: str) -> bool:
    """Return whether all addresses of ``host`` are of the loopback interface; a name that cannot be resolved is not."""
    if _is_wildcard(host):
        return False
    if is_address(host):
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError:
        return False
    return all(_is_loopback(address) for address in found)


def _own_addresses() -> set[str]:
    """Return the IP addresses of this machine's interfaces, without zones."""
    families = (socket.AF_INET, socket.AF_INET6)
    interfaces = psutil.net_if_addrs().values()
    return {one.address.partition("%")[0].lower() for each in interfaces for one in each if one.family in families}
