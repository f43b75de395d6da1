"""Settings of the server: access from the network, log-in, and limits of requests."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lib.settings.section import Section


class Server(Section):
    """Network access to the server, and limits of requests."""

    login: bool = False
    """Require log-in on this machine, too; a server that other machines can reach always requires it."""
    session_hours: Annotated[float, Field(gt=0, le=24 * 365)] = 12.0
    """Hours after which a user has to log in again."""
    proxy_user_header: str = ""
    """Header with the name of the user who is logged in at a reverse proxy; empty: none is trusted."""
    proxy_secret_file: str = ""
    """File with the secret that the reverse proxy sends in the header X-Proxy-Secret."""
    proxy_role: Literal["user", "annotator", "reviewer", "admin"] = "user"
    """Role of users of the reverse proxy without a local account."""
    allowed_hosts: str = ""
    """Additional names or addresses of the server, separated by commas."""
    max_upload_mb: Annotated[int, Field(ge=1, le=65_536)] = 2048
    """Largest image, label or weights in one request, MiB."""
    max_stow_mb: Annotated[int, Field(ge=1, le=16_384)] = 256
    """Largest total of DICOM objects stored by a viewer in one request, MiB."""
    head_seconds: Annotated[float, Field(ge=1, le=3600)] = 20.0
    """Timeout for the headers of a request, seconds."""
    body_seconds: Annotated[float, Field(ge=1, le=3600)] = 60.0
    """Timeout for the body of a request, seconds, in addition to its size at 4 KiB/s."""
    max_connections: Annotated[int, Field(ge=8, le=60_000)] = 512
    """Largest number of simultaneous connections."""


RoleTitle = Literal["user", "annotator", "reviewer", "admin"]


class OpenIdConnect(Section):
    """Log-in at an identity provider by OpenID Connect."""

    oidc_issuer: str = ""
    """URL of the identity provider, as it calls itself in its tokens; empty: none is used."""
    oidc_client_id: str = ""
    """Identifier of this server at the provider."""
    oidc_client_secret_file: str = ""
    """File with the secret of this server at the provider; empty for a public client."""
    oidc_title: str = ""
    """Name of the provider on the log-in page; default: its host."""
    oidc_scope: str = "openid profile"
    """Scopes that are asked for."""
    oidc_audience: str = ""
    """Audience of the access tokens that programs send; default: oidc_client_id."""
    oidc_name_claim: str = "preferred_username"
    """Claim with the unique name of a user, the author of labels; users must not be able to change it themselves."""
    oidc_role_claim: str = "realm_access.roles"
    """Claim with the roles or groups of a user; dots separate the names of nested claims."""
    oidc_roles: Annotated[dict[str, RoleTitle], Field(min_length=1)] = {
        "monailabel-user": "user", "user": "user", "monailabel-annotator": "annotator", "annotator": "annotator",
        "monailabel-reviewer": "reviewer", "reviewer": "reviewer", "monailabel-admin": "admin", "admin": "admin",
    }  # fmt: skip
    """Role of each value of that claim; users without one are refused."""
    oidc_renew_seconds: Annotated[float, Field(ge=1, le=86_400)] = 300.0
    """Seconds after which the provider is asked again whether a session goes on, and with which role."""
