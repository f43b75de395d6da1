"""Access rules of the server from its configuration, created once at the start before anything else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from monailabel.config import settings as server_settings

from lib.errors import UserError
from lib.server.access.bodies import MIB
from lib.server.access.connections import ConnectionLimits, limit_connections
from lib.server.access.hosts import AllowedHosts, parse_hosts
from lib.server.access.listening import Listening, check_start, listening_of, plain_text_warning
from lib.server.access.login_rules import Login, login_of
from lib.server.access.middleware import Access, BodyLimits
from lib.server.access.route_table import Body
from lib.server.upstream_patches import running_server
from lib.settings import Settings


@dataclass(frozen=True)
class AccessRules:
    """Address of the server, and the rules for its clients.

    Attributes:
        listening: Address that the server listens on.
        hosts: Accepted host names.
        bodies: Limits of request bodies.
        connections: Limits of connections.
        login: Log-in; None if the server needs none.
    """

    listening: Listening
    hosts: AllowedHosts
    bodies: BodyLimits
    connections: ConnectionLimits
    login: Login | None = None

    @classmethod
    def of(cls, listening: Listening, settings: Settings) -> AccessRules:
        """Create the rules of a server.

        Args:
            listening: Address that the server is about to listen on.
            settings: Settings of this run.

        Raises:
            UserError: The server must not start.
        """
        check_start(listening, login_by_keycloak=server_settings.MONAI_LABEL_AUTH_ENABLE)
        section = settings.info["config"]["server"]
        upload, stow = (MIB * section[name] for name in ("max_upload_mb", "max_stow_mb"))
        return cls(
            listening,
            AllowedHosts(listening, parse_hosts(section["allowed_hosts"])),
            BodyLimits(
                {Body.SMALL: MIB, Body.UPLOAD: upload, Body.DICOM: stow},
                {Body.UPLOAD: "max_upload_mb", Body.DICOM: "max_stow_mb"},
                section["body_seconds"],
            ),
            ConnectionLimits(section["max_connections"], section["head_seconds"]),
            login_of(listening, settings),
        )

    @property
    def network_warning(self) -> str | None:
        """Warning for each start and the status page; None if passwords are safe on their way."""
        return plain_text_warning(self.listening)

    def wrap(self, app: Any, origins: Iterable[Any] = ()) -> Access:
        """Return ``app`` wrapped in these rules.

        Args:
            app: An ASGI application.
            origins: Other origins that the user allows.
        """
        return Access(app, self.hosts, self.bodies, [str(origin) for origin in origins], self.login)


def rules_at_start(settings: Settings) -> AccessRules | None:
    """Return the rules of the server that loads this app, and apply its connection limits.

    Args:
        settings: Settings of this run.

    Returns:
        The rules; None in trainings and commands, which run no server.

    Raises:
        UserError: The server must not start.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return None
    found = running_server()
    if found is None:
        raise UserError("The address that this server listens on is unknown. Start it with: monailabel start_server.")
    rules = AccessRules.of(listening_of(*found), settings)
    limit_connections(found[0].config, rules.connections)
    return rules
