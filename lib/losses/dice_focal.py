"""The paper's hybrid loss (eqs. 4 and 7, 8, 9)."""

import torch
from monai.losses import DiceFocalLoss, DiceLoss


class HybridLoss(DiceFocalLoss):
    """lambda * Dice + (1 - lambda) * focal (eq. 9) on logits of shape (B, 1, *spatial).

    The Dice loss (eqs. 4 and 7) is the mean of two terms. The per-slice term is averaged over the slices with tumour,
    so that a small tumour has the same weight as a large one. The batch term is computed over the whole batch, where a
    slice without tumour adds its false positives to the denominator; a separate term for such a slice would have the
    weight of a slice with tumour and jump between 0 and 1 at its first false-positive pixel. For a single slice with
    tumour both terms equal equation 7. Epsilon is one pixel, so that a batch without tumour still has a gradient that
    decreases with its false positives.

    The focal loss (eq. 8) is averaged over pixels; alpha weights tumour pixels, 1 - alpha the others.

    Args:
        loss_lambda: weight of Dice, 0 to 1.
        gamma: focusing exponent of the focal loss, 0 or more.
        alpha: weight of tumour pixels in the focal loss, 0 to 1.
        epsilon: smoothing of Dice, in pixels.
    """

    def __init__(self, loss_lambda: float = 0.5, gamma: float = 2.0, alpha: float = 0.75, epsilon: float = 1.0) -> None:
        for name, value in (("loss_lambda", loss_lambda), ("alpha", alpha)):
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} must be a weight between 0 and 1, got {value}.")
        if gamma < 0:
            raise ValueError(f"gamma must be an exponent of 0 or more, got {gamma}.")
        super().__init__(
            sigmoid=True,
            batch=True,
            smooth_nr=epsilon,
            smooth_dr=epsilon,
            gamma=gamma,
            alpha=alpha,
            lambda_dice=loss_lambda,
            lambda_focal=1.0 - loss_lambda,
        )
        self.slice_dice = DiceLoss(sigmoid=True, smooth_nr=epsilon, smooth_dr=epsilon)

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the loss, a scalar.

        Args:
            input: Logits, shape (B, 1, *spatial).
            target: 0 and 1, same shape.
        """
        dice = self.dice(input, target)
        tumour = target.flatten(1).any(1)
        if tumour.any():
            dice = (dice + self.slice_dice(input[tumour], target[tumour])) / 2
        return self.lambda_dice * dice + self.lambda_focal * self.focal(input, target)
