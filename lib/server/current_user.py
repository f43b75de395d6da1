"""The user who sent a request, for routes."""

from __future__ import annotations

from fastapi import Request
from monailabel.config import settings
from monailabel.endpoints.user.auth import DEFAULT_USER, User

from lib.identity.authentication import Identity
from lib.identity.roles import Role

_LONGEST_NAME = 100
_NAMES = {
    Role.USER: settings.MONAI_LABEL_AUTH_ROLE_USER,
    Role.ANNOTATOR: settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR,
    Role.REVIEWER: settings.MONAI_LABEL_AUTH_ROLE_REVIEWER,
    Role.ADMIN: settings.MONAI_LABEL_AUTH_ROLE_ADMIN,
}


def current_user(request: Request) -> User:
    """Return the user who is logged in, as MONAI Label describes users; its default user while log-in is off."""
    identity: Identity | None = getattr(request.state, "identity", None)
    if identity is None:
        return DEFAULT_USER
    return User(username=identity.name, roles=[name for role, name in _NAMES.items() if role <= identity.role])


def is_logged_in(user: User) -> bool:
    """Return whether this is somebody who is logged in, not the default user."""
    return user is not DEFAULT_USER


def turn_of(request: Request) -> tuple[str, str]:
    """Return whose turn a request takes in a queue: of who is logged in, else of a computer."""
    user = current_user(request)
    return user.username, "" if is_logged_in(user) or not request.client else request.client.host


def session_of(request: Request) -> str:
    """Return the identifier of the log-in session of a request; empty without one."""
    identity: Identity | None = getattr(request.state, "identity", None)
    return identity.session if identity else ""


def may_review(user: User) -> bool:
    """Return whether a user may review labels of others; while log-in is off, nobody may."""
    return is_logged_in(user) and _NAMES[Role.REVIEWER] in user.roles


def author(user: User, typed: str) -> str:
    """Return the name to record for an action: of who is logged in; while log-in is off, the name that was typed."""
    return user.username if is_logged_in(user) else " ".join(typed.split())[:_LONGEST_NAME] or user.username


def described_user(user: User) -> dict[str, str] | None:
    """Return name and role of who is logged in, for the panel and the status page; None while log-in is off."""
    if not is_logged_in(user):
        return None
    role = max(role for role, name in _NAMES.items() if name in user.roles)
    return {"name": user.username, "role": role.title}
