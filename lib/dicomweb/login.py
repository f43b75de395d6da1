"""User and password of a PACS that are given with its address, and kept out of all that is printed."""

from __future__ import annotations

import contextlib
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from lib.errors import UserError

Login = tuple[str, str]


def split_login(url: str) -> tuple[str, Login | None]:
    """Take the user information out of a URL (RFC 3986 3.2.1).

    Args:
        url: DICOMweb root of a PACS, with or without.

    Returns:
        The URL without it, and user and password; None where it has none.

    Raises:
        UserError: It is no URL. The sentence does not repeat it.

    Example:
        >>> split_login("https://reader:p%40ss@pacs:8042/dicom-web")
        ('https://pacs:8042/dicom-web', ('reader', 'p@ss'))
    """
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - parsed when asked for
    except ValueError:
        raise UserError(
            "The address of the PACS is no URL: a '/', '#' or '?' in a password is written as %2F …"
        ) from None
    login, found, host = parts.netloc.rpartition("@")
    if not found:
        return url, None
    user, _, password = login.partition(":")
    if not host or not user:
        raise UserError("The address of the PACS names no host, or a password without a user.")
    return urlunsplit(parts._replace(netloc=host)), (unquote(user), unquote(password))


def mask_login(studies: str, logs: Path) -> None:
    """Cover user and password in the log files: MONAI Label writes its arguments there before it loads this app.

    Args:
        studies: The address as it was given.
        logs: Folder of ``app.log`` and of its former files.
    """
    login = studies.partition("://")[2].rpartition("@")[0].encode()  # also of what is no valid URL
    for path in logs.glob("app.log*") if login else ():
        with contextlib.suppress(OSError), path.open("r+b") as file:  # in place: the server goes on appending
            content, start = file.read(), -1
            while (start := content.find(login + b"@", start + 1)) >= 0:
                file.seek(start)
                file.write(b"*" * len(login))
