"""The address that the server listens on, and the check whether it may."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass

import psutil
import uvicorn

from lib.errors import UserError


@dataclass(frozen=True)
class Listening:
    """Address that the server listens on.

    Attributes:
        hosts: Bound names or addresses; "", ``0.0.0.0`` and ``::`` are all interfaces.
        port: TCP port.
        https: Whether the server terminates TLS itself.
        root_path: Path prefix of a reverse proxy, or "".
    """

    hosts: tuple[str, ...]
    port: int
    https: bool = False
    root_path: str = ""

    @property
    def is_local(self) -> bool:
        """Whether only programs on this machine can connect."""
        return all(_is_loopback(host) for host in self.hosts)

    @property
    def url(self) -> str:
        """URL to open on this machine."""
        host = self.hosts[0]
        if _is_wildcard(host):
            host = "::1" if ":" in host else "127.0.0.1"
        return self._url_of(host)

    @property
    def network_url(self) -> str | None:
        """URL to open on other machines; None if they cannot connect."""
        if self.is_local:
            return None
        host = next(host for host in self.hosts if not _is_loopback(host))
        return self._url_of(socket.gethostname() if _is_wildcard(host) else host)

    def names(self) -> set[str]:
        """Return the names and addresses that clients can use for this machine, in lower case."""
        names = {"localhost", *(host.lower() for host in self.hosts if host and not _is_wildcard(host))}
        if self.is_local:
            return names
        own = socket.gethostname().lower()
        return names | {own, f"{own.partition('.')[0]}.local", socket.getfqdn().lower()} | _own_addresses()

    def _url_of(self, host: str) -> str:
        scheme = "https" if self.https else "http"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"


def listening_of(server: uvicorn.Server, sockets: list[socket.socket] | None) -> Listening:
    """Return the address that ``server`` listens on or is about to listen on."""
    config = server.config
    bound = [one.getsockname() for one in sockets or [] if one.family in (socket.AF_INET, socket.AF_INET6)]
    return Listening(
        hosts=tuple(address[0] for address in bound) or (config.host or "",),
        port=bound[0][1] if bound else config.port,
        https=bool(config.ssl_keyfile or config.ssl_certfile),
        root_path=config.root_path,
    )


def check_start(listening: Listening, *, login_by_keycloak: bool) -> None:
    """Refuse to start a server whose viewer would not work.

    Args:
        listening: Address that the server is about to listen on.
        login_by_keycloak: Whether ``MONAI_LABEL_AUTH_ENABLE`` is set.

    Raises:
        UserError: The server must not start; the message says what to change.
    """
    if login_by_keycloak:
        raise UserError(
            "MONAI_LABEL_AUTH_ENABLE is set, but MONAI Label's login rejects valid tokens with current versions of "
            "PyJWT, and OHIF cannot be opened with it. Unset it; this app has its own log-in: --conf login true."
        )
    if listening.root_path:
        raise UserError(
            f"--root_path {listening.root_path} is not supported: OHIF is built for the path /ohif/ of its host and "
            "stays blank below another path. Configure the reverse proxy to serve this server under its own name or "
            "port, without --root_path, and allow that name: --conf allowed_hosts NAME."
        )


def plain_text_warning(listening: Listening) -> str | None:
    """Return the warning for a server that passwords reach without encryption; None if they do not."""
    if listening.is_local or listening.https:
        return None
    return (
        f"Passwords and images travel to {listening.network_url} without encryption. Add --ssl_keyfile and "
        "--ssl_certfile, or put a reverse proxy with TLS before this server and add --host 127.0.0.1."
    )


def is_address(host: str) -> bool:
    """Return whether ``host`` is an IP address rather than a name."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _is_wildcard(host: str) -> bool:
    return not host or (is_address(host) and ipaddress.ip_address(host.partition("%")[0]).is_unspecified)


def _is_loopback(host: str) -> bool:
    """Return whether all addresses of ``host`` are loopback addresses; False for a name that cannot be resolved."""
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
    """Return the IP addresses of this machine's interfaces, without zone ids."""
    families = (socket.AF_INET, socket.AF_INET6)
    interfaces = psutil.net_if_addrs().values()
    return {one.address.partition("%")[0].lower() for each in interfaces for one in each if one.family in families}
