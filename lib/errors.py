"""What the user did that cannot be done, told in a sentence and answered with an HTTP 4xx."""

from __future__ import annotations

from http import HTTPStatus


class UserError(Exception):
    """A request that cannot be served, with a sentence that says what to do about it.

    Args:
        message: What was given, what was wrong, what to do.
        status: The HTTP status the server answers with.

    Example:
        >>> UserError("No such image.", status=HTTPStatus.NOT_FOUND).status
        <HTTPStatus.NOT_FOUND: 404>
    """

    def __init__(self, message: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(message)
        self.status = status


def in_one_line(error: Exception) -> str:
    """What went wrong, in one line; pydicom puts whole tracebacks into its messages."""
    return f"{type(error).__name__}: {error}".splitlines()[0]
