"""Check of the ``Host`` header against DNS rebinding.

A web page can make its own name resolve to this machine; the browser then treats the server as the page's origin. It
sends that name as ``Host``, so only requests with known names are served.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from lib.errors import UserError
from lib.server.access.listening import Listening

_HOST = re.compile(r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[a-z0-9_.-]+))(?::[0-9]{1,5})?", re.IGNORECASE)
_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*", re.IGNORECASE)


class AllowedHosts:
    """Names and addresses that are accepted as ``Host``.

    Args:
        listening: Address of the server, which decides whether the machine's own names are accepted.
        additional: Names or addresses that the user allows.
    """

    def __init__(self, listening: Listening, additional: Iterable[str] = ()) -> None:
        self._names = {_canonical(name) for name in {*listening.names(), *additional}}

    def allow(self, host: str | None, local_address: str | None = None) -> bool:
        """Return whether a request with this ``Host`` is served.

        Args:
            host: Value of the header: name or address, and a port, which is ignored because tunnels change it.
            local_address: Address of this machine that the client connected to; always accepted.
        """
        found = _HOST.fullmatch(host or "")
        if found is None:
            return False
        name = _canonical(found["v6"] or found["name"])
        if name in self._names or (local_address and name == _canonical(local_address)):
            return True
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return name.endswith(".localhost")


def parse_hosts(text: str) -> list[str]:
    """Parse the setting ``allowed_hosts``: names or addresses, separated by commas or spaces.

    Raises:
        UserError: A value is neither a name nor an address, such as a URL or a wildcard.
    """
    hosts = [part.strip("[]") for part in re.split(r"[,\s]+", text) if part]
    for host in hosts:
        try:
            ipaddress.ip_address(host)
        except ValueError:
            if not _NAME.fullmatch(host):
                raise UserError(
                    f"allowed_hosts has {host!r}: each must be a name such as lung.example.org or an IP address, "
                    "without scheme, port or wildcard; several are separated by commas."
                ) from None
    return hosts


def _canonical(name: str) -> str:
    """Return the canonical spelling of a name or address."""
    name = name.lower().partition("%")[0].rstrip(".")
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
