"""``python main.py users``: list, add, change and remove the users who may log in."""

from __future__ import annotations

import argparse
import getpass
import sys

from lib.cli.arguments import settings_of_workspace
from lib.cli.os_user import os_user
from lib.errors import UserError
from lib.identity.accounts import SHORTEST_PASSWORD, Accounts
from lib.identity.audit_log import AuditLog
from lib.identity.roles import Role

_ROLES = [role.title for role in Role]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--workspace", required=True, help="folder of the workspace, which the server prints at start")
    parser.add_argument(
        "action",
        choices=["list", "add", "remove", "role", "password"],
        nargs="?",
        default="list",
        help="list the users (default), add or remove one, or change a role or a password",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="name of the user")
    parser.add_argument(
        "--role", choices=_ROLES, help="user looks, annotator labels, reviewer publishes, admin manages"
    )
    parser.add_argument(
        "--password-stdin",
        action="store_true",
        help=f"read the password, {SHORTEST_PASSWORD} characters or more, from standard input instead of asking for it",
    )


def run(args: argparse.Namespace) -> int:
    """Apply the change, and list the users."""
    settings = settings_of_workspace(args.workspace)
    accounts = Accounts(settings.users_file)
    if args.action != "list":
        if not args.name:
            raise UserError(f"Give the name of the user: users --workspace DIR {args.action} NAME.")
        _change(accounts, args)
        AuditLog(settings.audit_file).append(
            f"os:{os_user()}", f"user {args.action}", account=args.name, **({"role": args.role} if args.role else {})
        )
    for account in sorted(accounts.all().values(), key=lambda one: one.name):
        print(f"{account.name:<24}{account.role.title}")
    if not accounts.all():
        print(f"{settings.users_file} has no user yet. Add one: users --workspace DIR add NAME --role admin")
    return 0


def _change(accounts: Accounts, args: argparse.Namespace) -> None:
    if args.action in ("add", "role") and not args.role:
        raise UserError(f"Give the role: --role {' or '.join(_ROLES)}.")
    if args.action == "add":
        if args.name in accounts.all():
            raise UserError(f"There is a user {args.name!r} already.")
        accounts.add(args.name, Role.of(args.role), _password(args))
    elif args.action == "remove":
        accounts.remove(args.name)
    elif args.action == "role":
        accounts.change(args.name, role=Role.of(args.role))
    else:
        accounts.change(args.name, password=_password(args))


def _password(args: argparse.Namespace) -> str:
    if args.password_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    first = getpass.getpass(f"Password of {args.name}: ")
    if getpass.getpass("Again: ") != first:
        raise UserError("The two passwords differ. Nothing was changed.")
    return first
