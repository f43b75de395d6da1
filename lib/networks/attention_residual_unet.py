"""The paper's network: a residual U-Net with attention gates (Fig. 1, eqs. 2, 3 and 6)."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from monai.networks.blocks import Convolution, ResidualUnit, UpSample
from monai.networks.layers import Pool
from torch import nn

from lib.networks.attention_gate import AttentionGate


class AttentionResidualUNet(nn.Module):
    """U-Net with residual double convolutions and an attention gate on each skip.

    ``attention=False, residual=False`` is the paper's baseline U-Net: same widths, same code.

    Uses batch normalisation: with its running statistics the output at a pixel depends only on the neighbourhood of
    the pixel, so patches (training), whole slices (inference) and batches of one give the same result. Instance or
    group normalisation would depend on the size of the field.

    Args:
        spatial_dims: 2 for axial slices, 3 for volumes.
        in_channels: channels of the input; adjacent slices can be channels.
        out_channels: channels of the logits.
        channels: width of each level, finest first.
        attention: gate the skips (eq. 6).
        residual: add a shortcut around the two convolutions of each block.

    Example:
        >>> network = AttentionResidualUNet(channels=(4, 8))
        >>> network(torch.zeros(1, 1, 32, 32)).shape
        torch.Size([1, 1, 32, 32])
    """

    def __init__(
        self,
        spatial_dims: int = 2,
        in_channels: int = 1,
        out_channels: int = 1,
        channels: Sequence[int] = (16, 32, 64, 128, 256),
        attention: bool = True,
        residual: bool = True,
    ):
        super().__init__()
        if len(channels) < 2:
            raise ValueError(f"A U-Net needs the widths of at least two levels, got channels={tuple(channels)}.")
        self.stride = 2 ** (len(channels) - 1)
        widths = tuple(channels)
        self.pool = Pool[Pool.MAX, spatial_dims](kernel_size=2)
        self.encoders = nn.ModuleList(
            _double_convolution(spatial_dims, before, width, residual)
            for before, width in zip((in_channels, *widths), widths, strict=False)
        )
        # Decoder modules are listed finest first, like those of the encoder.
        self.ups = nn.ModuleList(
            UpSample(spatial_dims, coarse, fine, scale_factor=2, mode="deconv") for fine, coarse in pairwise(widths)
        )
        self.gates = nn.ModuleList(
            AttentionGate(spatial_dims, width, width, max(width // 2, 1)) for width in widths[:-1] if attention
        )
        self.decoders = nn.ModuleList(
            _double_convolution(spatial_dims, 2 * width, width, residual) for width in widths[:-1]
        )
        self.head = Convolution(spatial_dims, widths[0], out_channels, kernel_size=1, conv_only=True)

    def forward(
        self, image: torch.Tensor, return_attention: bool = False
    ) -> torch.Tensor | tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the logits and, on request, the attention coefficients of each skip.

        Args:
            image: shape (B, in_channels, *spatial), normalised; every spatial size a
                multiple of ``self.stride``.
            return_attention: also return the coefficients.

        Returns:
            Logits of shape (B, out_channels, *spatial); with ``return_attention`` a tuple of the logits and a list
            with one tensor (B, 1, *spatial of the skip) in [0, 1] per skip, finest first, empty without gates.
        """
        self._check_size(image)
        skips = []
        feature = image
        for encoder in self.encoders[:-1]:
            feature = encoder(feature)
            skips.append(feature)
            feature = self.pool(feature)
        feature = self.encoders[-1](feature)

        coefficients: list[torch.Tensor] = []
        for level in reversed(range(len(skips))):
            feature = self.ups[level](feature)
            skip = skips[level]
            if self.gates:
                alpha = self.gates[level](skip, feature)
                coefficients.insert(0, alpha)
                skip = skip * alpha
            feature = self.decoders[level](torch.cat((skip, feature), dim=1))
        logits = self.head(feature)
        return (logits, coefficients) if return_attention else logits

    def _check_size(self, image: torch.Tensor) -> None:
        size = tuple(image.shape[2:])
        if any(length == 0 or length % self.stride for length in size):
            raise ValueError(
                f"The network halves its input {len(self.ups)} times, so every side must be a multiple of "
                f"{self.stride} pixels; got {' x '.join(map(str, size))}. Pad or resize the image first."
            )


def _double_convolution(spatial_dims: int, in_channels: int, out_channels: int, residual: bool) -> nn.Module:
    """Return two 3x3 convolutions, each with ReLU (eq. 2), with or without a shortcut around both."""
    # No bias: the normalisation that follows would cancel it.
    options: dict[str, Any] = {"kernel_size": 3, "act": "RELU", "norm": "BATCH", "bias": False}
    if residual:
        return ResidualUnit(spatial_dims, in_channels, out_channels, subunits=2, **options)
    return nn.Sequential(
        Convolution(spatial_dims, in_channels, out_channels, **options),
        Convolution(spatial_dims, out_channels, out_channels, **options),
    )
