"""The check that a network's output consists of finite numbers."""

from __future__ import annotations

from http import HTTPStatus

import torch

from lib.errors import UserError


def check_finite(logits: torch.Tensor, made_by: str) -> None:
    """Raise where a network's output is not finite: cut at a threshold, it would be an empty mask.

    Args:
        logits: Of a whole volume.
        made_by: The network, for the message.

    Raises:
        NotFiniteError: A value is NaN or infinite.
    """
    if not torch.isfinite(logits).all():
        raise NotFiniteError(made_by)


class NotFiniteError(UserError):
    """A network's output is not finite, so there is no mask.

    Args:
        made_by: The network, for the message.
    """

    def __init__(self, made_by: str) -> None:
        super().__init__(
            f"There is no mask: {made_by} gave values that are no numbers. Either its weights are not usable (let "
            "another version serve: python main.py models), or the image has voxels that are no numbers.",
            HTTPStatus.UNPROCESSABLE_ENTITY,
        )
