"""Changes of intensity under which a model should find the same."""

from collections.abc import Callable

import torch

_SHIFT_HU = 50.0
_CONTRAST = 0.1
_NOISE_HU = 30.0


def intensity_changes(hu_std: float) -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    """Shift by 50 HU either way, contrast by 10 % either way, noise of 30 HU.

    Each works on what the network sees; the noise is the same every time.

    Args:
        hu_std: HU in one unit of the normalised image.
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
