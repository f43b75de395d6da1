"""Networks, in plain PyTorch and MONAI without MONAI Label."""

from lib.networks.attention_residual_unet import AttentionResidualUNet

__all__ = ["AttentionResidualUNet"]
