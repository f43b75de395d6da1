"""The error of a GPU whose memory is used up."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from http import HTTPStatus

import torch

from lib.errors import UserError


class GpuMemoryError(UserError):
    """Raised if the memory of the GPU does not suffice.

    Args:
        wanted: What PyTorch said about it.
    """

    def __init__(self, wanted: str) -> None:
        super().__init__(
            "There is no mask: the GPU has too little free memory. A training or another program may be using it: try "
            "again when that has ended, use a smaller batch_size, or start the server with CUDA_VISIBLE_DEVICES= to "
            f"compute on the CPU. ({wanted.splitlines()[0] if wanted else 'PyTorch gave no reason'})",
            HTTPStatus.SERVICE_UNAVAILABLE,
        )


@contextlib.contextmanager
def within_gpu_memory() -> Iterator[None]:
    """Return cached memory to the GPU and raise a `GpuMemoryError` if its memory is used up within the context."""
    wanted = None
    try:
        yield
    except torch.OutOfMemoryError as error:
        wanted = str(error)
    if wanted is not None:  # not in the clause above: the former error refers to the tensors of all frames
        torch.cuda.empty_cache()
        raise GpuMemoryError(wanted)
