"""What is measured on whole volumes while a model trains."""

from collections.abc import Callable

import torch
from monai.handlers import IgniteMetricHandler
from monai.metrics import CumulativeIterationMetric, DiceMetric
from scipy import ndimage

_EVERY_NEIGHBOUR = ndimage.generate_binary_structure(3, 3)


class FalsePositiveComponents(CumulativeIterationMetric):
    """Mean number per volume of predicted components (26 neighbours) that touch no true tumour."""

    def _compute_tensor(self, y_pred: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Count for each volume of a batch.

        Args:
            y_pred: Predicted mask, shape (B, 1, X, Y, Z).
            y: True mask, same shape.
        """
        counts = []
        for found, truth in zip(y_pred.bool().cpu().numpy(), y.bool().cpu().numpy(), strict=True):
            components, count = ndimage.label(found[0], structure=_EVERY_NEIGHBOUR)
            touching = set(components[truth[0]].tolist()) - {0}
            counts.append([float(count - len(touching))])
        return torch.tensor(counts)

    def aggregate(self) -> torch.Tensor:
        """Mean over the volumes."""
        return self.get_buffer().mean()


def dice_handler(output_transform: Callable) -> IgniteMetricHandler:
    """Mean Dice over volumes; one without tumour scores 1 if nothing was found in it, and 0 otherwise."""
    return IgniteMetricHandler(DiceMetric(ignore_empty=False), output_transform=output_transform)


def false_positives_handler(output_transform: Callable) -> IgniteMetricHandler:
    """Mean number of false positive components per volume."""
    return IgniteMetricHandler(FalsePositiveComponents(), output_transform=output_transform)
