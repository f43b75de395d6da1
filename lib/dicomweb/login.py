"""User and password in the URL of a PACS, which must not appear in any output."""

from __future__ import annotations

import contextlib
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from lib.errors import UserError

Login = tuple[str, str]


def split_login(url: str) -> tuple[str, Login | None]:
    """Separate the user information from a URL (RFC 3986 3.2.1).

    Args:
        url: DICOMweb root of a PACS, with or without user information.

    Returns:
        The URL without user information, and (user, password) or None.

    Raises:
        UserError: The URL is invalid. The message does not quote it.

    Example:
        >>> split_login("https://reader:p%40ss@pacs:8042/dicom-web")
        ('https://pacs:8042/dicom-web', ('reader', 'p@ss'))
    """
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - validated on access
    except ValueError:
        raise UserError(
            "The URL of the PACS is invalid: '/', '#' and '?' in a password must be written as %2F, %23 and %3F."
        ) from None
    login, found, host = parts.netloc.rpartition("@")
    if not found:
        return url, None
    user, _, password = login.partition(":")
    if not host or not user:
        raise UserError("The URL of the PACS has no host, or a password without a user.")
    return urlunsplit(parts._replace(netloc=host)), (unquote(user), unquote(password))


def mask_login(studies: str, logs: Path) -> None:
    """Mask user and password in the log files; MONAI Label logs its arguments before it loads this app.

    Args:
        studies: The URL as given.
        logs: Folder of ``app.log`` and its rotated files.
    """
    login = studies.partition("://")[2].rpartition("@")[0].encode()  # works for invalid URLs, too
    for path in logs.glob("app.log*") if login else ():
        with contextlib.suppress(OSError), path.open("r+b") as file:  # in place, because the server is still appending
            content, start = file.read(), -1
            while (start := content.find(login + b"@", start + 1)) >= 0:
                file.seek(start)
                file.write(b"*" * len(login))
