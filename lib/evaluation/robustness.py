"""Changes of intensity that should not change the prediction of a model."""

from collections.abc import Callable

import torch

_SHIFT_HU = 50.0
_CONTRAST = 0.1
_NOISE_HU = 30.0


def intensity_changes(hu_std: float) -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    """Return changes by name: shift by ±50 HU, contrast by ±10 %, and noise of 30 HU with a fixed seed.

    Each is a function of the network's input.

    Args:
        hu_std: HU per unit of the normalised image.
    """
    shift, noise = _SHIFT_HU / hu_std, _NOISE_HU / hu_std

    def noisy(image: torch.Tensor) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        return image + noise * torch.randn(image.shape, generator=generator)

    return {
        "50 HU brighter": lambda image: image + shift,
        "50 HU darker": lambda image: image - shift,
        "10 % more contrast": lambda image: image * (1 + _CONTRAST),
        "10 % less contrast": lambda image: image * (1 - _CONTRAST),
        "noise of 30 HU": noisy,
    }
