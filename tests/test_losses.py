"""HybridLoss against the equations of the paper, written in NumPy."""

import numpy as np
import pytest
import torch

from lib.losses import HybridLoss


def hybrid_loss(logits, target, loss_lambda, gamma, alpha, epsilon):
    """Return equations 7, 8 and 9, with the Dice over each slice with tumour and over the batch."""
    p = 1 / (1 + np.exp(-logits))

    def dice_loss(p, g):
        return 1 - (2 * (p * g).sum() + epsilon) / (p.sum() + g.sum() + epsilon)

    slices = [dice_loss(*pair) for pair in zip(p, target, strict=True) if pair[1].any()]
    dice = (np.mean(slices) + dice_loss(p, target)) / 2 if slices else dice_loss(p, target)
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
def test_matches_the_equations(loss_lambda, gamma, alpha, epsilon):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (3, 1, 8, 9))
    target = (rng.random((3, 1, 8, 9)) < 0.2).astype(float)
    target[1] = 0
    loss = HybridLoss(loss_lambda, gamma, alpha, epsilon)(torch.from_numpy(logits), torch.from_numpy(target))
    assert loss.item() == pytest.approx(hybrid_loss(logits, target, loss_lambda, gamma, alpha, epsilon), rel=1e-6)


def test_small_tumour_has_the_weight_of_a_large_one():
    target = torch.zeros(2, 1, 32, 32)
    target[0, 0, 2:30, 2:30] = 1
    target[1, 0, 15:17, 15:17] = 1
    right = (target * 2 - 1) * 50

    def without(missed):
        logits = right.clone()
        logits[missed] = -50
        return HybridLoss(loss_lambda=1.0)(logits, target).item()

    assert without(1) > 0.15  # over the batch alone it would be 0.003
    assert without(0) > without(1)


def test_slices_without_tumour_do_not_change_a_perfect_score():
    target = torch.zeros(8, 1, 16, 16)
    target[0, 0, 4:8, 4:8] = 1
    logits = (target * 2 - 1) * 50
    assert HybridLoss()(logits, target).item() == pytest.approx(0, abs=1e-6)


def test_batch_without_tumour_is_finite_and_penalises_false_positives():
    logits = torch.full((2, 1, 16, 16), 5.0, requires_grad=True)
    loss = HybridLoss()(logits, torch.zeros(2, 1, 16, 16))
    loss.backward()
    assert torch.isfinite(loss)
    assert (logits.grad > 0).all()
    quiet = HybridLoss()(torch.full((2, 1, 16, 16), -20.0), torch.zeros(2, 1, 16, 16))
    assert quiet < 1e-3


@pytest.mark.parametrize("wrong", [{"loss_lambda": 1.5}, {"alpha": -0.1}, {"gamma": -1.0}])
def test_parameters_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        HybridLoss(**wrong)


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_soft_target_is_fitted_by_its_own_share(share):
    """Readers disagree on all pixels of a slice in the same way: the best probability is their share."""
    target = torch.zeros(1, 1, 16, 16)
    target[..., 4:12, 4:12] = share
    target[..., 6:10, 6:10] = 1
    disagreement = (target == share).float()

    def at(probability):
        p = target * (1 - disagreement) + probability * disagreement
        return HybridLoss(loss_lambda=1.0)(p.clamp(1e-6, 1 - 1e-6).logit(), target).item()

    candidates = [0.01, 0.25, 0.5, 0.75, 0.99]
    assert min(candidates, key=at) == share
