"""The paper's hybrid loss (eqs. 4 and 7, 8, 9)."""

import torch
from monai.losses import DiceFocalLoss, DiceLoss


class HybridLoss(DiceFocalLoss):
    """lambda * Dice + (1 - lambda) * focal (eq. 9) on logits of shape (B, 1, *spatial).

    Dice (eqs. 4 and 7) is the mean of two: over each slice that shows tumour by itself, so that a small tumour weighs
    as much as a large one; and over the whole batch at once, where a slice without tumour adds its false positives to
    the denominator. By itself such a slice would weigh as much as one with a tumour, and would jump between 0 and 1
    with its first false pixel. For a single slice with tumour both are equation 7. Epsilon is one pixel, so that a
    batch without any tumour still has a gradient that shrinks with its false positives.

    Focal (eq. 8) is averaged over pixels; alpha weighs tumour, 1 - alpha the rest.

    Args:
        loss_lambda: weight of Dice, 0 to 1.
        gamma: focusing exponent of the focal loss, 0 or more.
        alpha: weight of tumour pixels in the focal loss, 0 to 1.
        epsilon: smoothing of Dice, in pixels.
    """

    def __init__(self, loss_lambda: float = 0.5, gamma: float = 2.0, alpha: float = 0.75, epsilon: float = 1.0) -> None:
        for name, value in (("loss_lambda", loss_lambda), ("alpha", alpha)):
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} is a weight between 0 and 1, got {value}.")
        if gamma < 0:
            raise ValueError(f"gamma is an exponent of 0 or more, got {gamma}.")
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
        """The loss, a scalar.

        Args:
            input: Logits, shape (B, 1, *spatial).
            target: 0 and 1, same shape.
        """
        dice = self.dice(input, target)
        tumour = target.flatten(1).any(1)
        if tumour.any():
            dice = (dice + self.slice_dice(input[tumour], target[tumour])) / 2
        return self.lambda_dice * dice + self.lambda_focal * self.focal(input, target)
