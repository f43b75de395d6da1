"""The attention gate on a skip connection (paper eq. 6)."""

import torch
from monai.networks.blocks import Convolution
from torch import nn


class AttentionGate(nn.Module):
    """Additive attention: alpha = sigmoid(psi(ReLU(W_x x + W_g g + b))).

    Paper eq. 6 with the ReLU and the 1x1 psi of Oktay et al. 2018 (arXiv:1804.03999) in between. There is no
    normalisation inside, so the coefficients depend on the features alone and not on the rest of the batch.
    """

    def __init__(self, spatial_dims: int, skip_channels: int, gating_channels: int, inter_channels: int):
        super().__init__()
        self.w_x = _pointwise(spatial_dims, skip_channels, inter_channels, bias=False)
        self.w_g = _pointwise(spatial_dims, gating_channels, inter_channels, bias=True)
        self.psi = _pointwise(spatial_dims, inter_channels, 1, bias=True)

    def forward(self, skip: torch.Tensor, gating: torch.Tensor) -> torch.Tensor:
        """Return the attention coefficients.

        Args:
            skip: encoder feature x, shape (B, skip_channels, *spatial).
            gating: gating signal g from the coarser decoder level, upsampled to the size of ``skip``.

        Returns:
            Coefficients in [0, 1], shape (B, 1, *spatial).
        """
        return torch.sigmoid(self.psi(torch.relu(self.w_x(skip) + self.w_g(gating))))


def _pointwise(spatial_dims: int, in_channels: int, out_channels: int, bias: bool) -> nn.Module:
    return Convolution(spatial_dims, in_channels, out_channels, kernel_size=1, bias=bias, conv_only=True)
