"""Users of a real server that requires log-in."""

from pathlib import Path

import requests

from lib.identity.accounts import Accounts
from lib.identity.roles import Role

PASSWORD = "correct horse battery"


def add_users(workspace: Path, **roles: Role) -> None:
    """Create accounts before a server starts."""
    for name, role in roles.items():
        Accounts(workspace / "users.json").add(name, role, PASSWORD)


def logged_in(url: str, name: str) -> requests.Session:
    """Return a session of requests of a user, logged in as a program does."""
    answer = requests.post(f"{url}/auth/token", data={"username": name, "password": PASSWORD}, timeout=60)
    assert answer.status_code == 200, answer.text
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
    return session
