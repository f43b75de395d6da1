"""The check that a network's output consists of finite numbers."""

from __future__ import annotations

from http import HTTPStatus

import torch

from lib.errors import UserError


def check_finite(logits: torch.Tensor, made_by: str) -> None:
    """Check that the output of a network is finite; otherwise thresholding would give an empty mask.

    Args:
        logits: Logits of a whole volume.
        made_by: Name of the network, for the message.

    Raises:
        NotFiniteError: A value is NaN or infinite.
    """
    if not torch.isfinite(logits).all():
        raise NotFiniteError(made_by)


class NotFiniteError(UserError):
    """Raised if the output of a network is not finite, so that there is no mask.

    Args:
        made_by: Name of the network, for the message.
    """

    def __init__(self, made_by: str) -> None:
        super().__init__(
            f"There is no mask: {made_by} returned values that are not finite. Either its weights are damaged (serve "
            "another version: python main.py models), or the image has voxels that are not finite.",
            HTTPStatus.UNPROCESSABLE_ENTITY,
        )
