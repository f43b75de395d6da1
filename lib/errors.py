"""The exception for requests that the user has to change, and one-line summaries of other errors."""

from __future__ import annotations

from http import HTTPStatus


class UserError(Exception):
    """Request that cannot be served, with a message that says what to do about it.

    Args:
        message: What was given, what was wrong, and what to do.
        status: HTTP status of the response.

    Example:
        >>> UserError("No such image.", status=HTTPStatus.NOT_FOUND).status
        <HTTPStatus.NOT_FOUND: 404>
    """

    def __init__(self, message: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(message)
        self.status = status


def in_one_line(error: Exception) -> str:
    """Return type and message of an error, cut to the first line: pydicom puts whole tracebacks into its messages."""
    return f"{type(error).__name__}: {error}".splitlines()[0]
