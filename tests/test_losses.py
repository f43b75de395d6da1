"""HybridLoss against the paper's equations written out in numpy."""

import numpy as np
import pytest
import torch

from lib.losses import HybridLoss


def hybrid_loss(logits, target, loss_lambda, gamma, alpha, epsilon):
    """Equations 7, 8 and 9 over all pixels of the batch."""
    p = 1 / (1 + np.exp(-logits))
    dice = 1 - (2 * (p * target).sum() + epsilon) / (p.sum() + target.sum() + epsilon)
    p_t = np.where(target == 1, p, 1 - p)
    alpha_t = np.where(target == 1, alpha, 1 - alpha)
    focal = -(alpha_t * (1 - p_t) ** gamma * np.log(p_t)).mean()
    return loss_lambda * dice + (1 - loss_lambda) * focal


@pytest.mark.parametrize(
    ("loss_lambda", "gamma", "alpha", "epsilon"),
    [
        (0.5, 2.0, 0.75, 1.0),
        (1.0, 2.0, 0.75, 1e-5),
        (0.0, 2.0, 0.75, 1.0),
        (0.3, 0.0, 0.5, 1.0),
        (0.7, 3.5, 0.1, 5.0),
    ],
)
def test_equals_the_equations(loss_lambda, gamma, alpha, epsilon):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (3, 1, 8, 9))
    target = (rng.random((3, 1, 8, 9)) < 0.2).astype(float)
    loss = HybridLoss(loss_lambda, gamma, alpha, epsilon)(torch.from_numpy(logits), torch.from_numpy(target))
    assert loss.item() == pytest.approx(hybrid_loss(logits, target, loss_lambda, gamma, alpha, epsilon), rel=1e-6)


def test_slices_without_tumour_do_not_change_a_perfect_score():
    target = torch.zeros(8, 1, 16, 16)
    target[0, 0, 4:8, 4:8] = 1
    logits = (target * 2 - 1) * 50
    assert HybridLoss()(logits, target).item() == pytest.approx(0, abs=1e-6)


def test_a_batch_without_tumour_is_finite_and_pulls_false_positives_down():
    logits = torch.full((2, 1, 16, 16), 5.0, requires_grad=True)
    loss = HybridLoss()(logits, torch.zeros(2, 1, 16, 16))
    loss.backward()
    assert torch.isfinite(loss)
    assert (logits.grad > 0).all()
    quiet = HybridLoss()(torch.full((2, 1, 16, 16), -20.0), torch.zeros(2, 1, 16, 16))
    assert quiet < 1e-3


@pytest.mark.parametrize("wrong", [{"loss_lambda": 1.5}, {"alpha": -0.1}, {"gamma": -1.0}])
def test_weights_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        HybridLoss(**wrong)
