"""The error for an empty label that nobody has confirmed."""

from __future__ import annotations

from http import HTTPStatus

from lib.errors import UserError


class EmptyLabelError(UserError):
    """Raised when a label marks no voxel, and it is not known whether that is intended."""

    def __init__(self) -> None:
        super().__init__(
            "The label is empty and was not stored. If this scan has no tumour, submit it again within five minutes to "
            'confirm that (programs: "confirm_empty": true in params).',
            HTTPStatus.CONFLICT,
        )
