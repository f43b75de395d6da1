"""Hosts on this machine: network namespaces joined by a bridge, each with an address of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_NAME = f"ll{os.getpid() % 100_000}"  # names of interfaces have at most 15 characters
BRIDGE_ADDRESS = "10.231.77.1"


@dataclass(frozen=True)
class Host:
    """A network namespace.

    Attributes:
        name: Its name.
        address: Its IPv4 address; the machine itself has `BRIDGE_ADDRESS`.
        port: Its port at the bridge, an interface of the machine.
    """

    name: str
    address: str
    port: str

    def command(self, words: Sequence[str]) -> list[str]:
        """Return the command that runs in this host."""
        return ["ip", "netns", "exec", self.name, *words]

    def cut_off(self) -> None:
        """Unplug it from the bridge: packets vanish, and neither side is told."""
        _ip("link", "set", self.port, "nomaster")


def why_not() -> str | None:
    """Return why this machine allows no namespaces; None if it does."""
    if not shutil.which("ip"):
        return "ip (iproute2) is not installed"
    try:
        _ip("netns", "add", f"{_NAME}x")
        _ip("netns", "delete", f"{_NAME}x")
        _ip("link", "add", f"{_NAME}x", "type", "bridge")
        _ip("link", "delete", f"{_NAME}x")
    except subprocess.CalledProcessError as error:
        return f"network namespaces are not allowed here: {error.stderr.strip()}"
    return None


@contextlib.contextmanager
def hosts(*names: str) -> Iterator[list[Host]]:
    """Create hosts on one network within the context.

    Args:
        names: Short names of the hosts.
    """
    with contextlib.ExitStack() as clean:
        _ip("link", "add", _NAME, "type", "bridge")
        clean.callback(_ip, "link", "delete", _NAME)
        _ip("address", "add", f"{BRIDGE_ADDRESS}/24", "dev", _NAME)
        _ip("link", "set", _NAME, "up")
        made = []
        for number, name in enumerate(names):
            host = Host(f"{_NAME}-{name}", f"10.231.77.{number + 2}", f"{_NAME}p{number}")
            _ip("netns", "add", host.name)
            clean.callback(_ip, "netns", "delete", host.name)
            _ip("link", "add", host.port, "type", "veth", "peer", "name", "eth0", "netns", host.name)
            _ip("link", "set", host.port, "master", _NAME, "up")
            _ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                _ip("-n", host.name, "link", "set", device, "up")
            made.append(host)
        yield made


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=20)
