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

    The target may be soft, the share of several readers. The intersection in eq. 4 is computed as half of
    |p| + |g| - |p - g| (Wang et al., Dice semimetric losses, 2023), so that the loss is lowest for p = g. For targets
    of 0 and 1 this is the product of p and g, with which the best p for a soft target would be 0 or 1.

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
        self.dice, self.slice_dice = (
            DiceLoss(sigmoid=True, batch=batch, soft_label=True, smooth_nr=epsilon, smooth_dr=epsilon)
            for batch in (True, False)
        )

    def forward(self, input: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the loss, a scalar.

        Args:
            input: Logits, shape (B, 1, *spatial).
            target: Share of the readers who marked a pixel, 0 to 1, same shape; 0 and 1 with a single mask.
        """
        dice = self.dice(input, target)
        tumour = (target >= 0.5).flatten(1).any(1)
        if tumour.any():
            dice = (dice + self.slice_dice(input[tumour], target[tumour])) / 2
        return self.lambda_dice * dice + self.lambda_focal * self.focal(input, target)
