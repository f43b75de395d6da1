"""Loss functions on logits."""

from lib.losses.dice_focal import HybridLoss

__all__ = ["HybridLoss"]
