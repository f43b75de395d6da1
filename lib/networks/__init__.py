"""Networks: plain torch and MONAI, nothing of MONAI Label."""

from lib.networks.attention_residual_unet import AttentionResidualUNet

__all__ = ["AttentionResidualUNet"]
