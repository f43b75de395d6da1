"""A simulated run: a weak model, then rounds of choosing cases, labelling them with their true masks, and training."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monailabel.interfaces.tasks.strategy import Strategy
from scipy import ndimage
from torch import nn

from lib.activelearning import ForegroundRandom, Random, StratifiedEntropy, UncertaintySampling
from lib.activelearning.stratified_entropy import STRATA
from lib.activelearning.uncertainty import uncertainty
from lib.evaluation.metrics import VoxelCounts
from lib.geometry.connected_components import connected_components
from lib.losses import HybridLoss
from lib.networks import AttentionResidualUNet
from lib.simulation.effort import strokes
from lib.simulation.prediction import scan_maps
from lib.trainers.start_weights import trained_share, weighted_mean
from lib.training.patches import PatchSampler
from lib.training.scans import Scan, is_whole

_MEASURES_OF: dict[str, tuple[str, ...]] = {
    "random": (),
    "foreground_random": ("marked",),
    "uncertainty": ("uncertainty",),
    "stratified_entropy": STRATA,
    "lesion": ("lesion",),
    "entropy": ("entropy",),
    "disagreement": ("disagreement",),
}
STRATEGIES = tuple(_MEASURES_OF)
COMPARED = STRATEGIES[:5]

_MARGIN_PX = 12


@dataclass(frozen=True)
class Plan:
    """Size of a simulation.

    Attributes:
        rounds: Rounds of labelling.
        start: Labelled cases of the weak model.
        per_round: Cases labelled in each round.
        pool: Cases to choose from, drawn for each seed, including those of the start.
        start_steps: Optimiser steps of the weak model.
        steps: Optimiser steps in each round.
        batch_size: Patches per step.
        patch_size: Side of the patches in pixels, a multiple of the network's stride.
        learning_rate: Peak learning rate of Adam.
        server_rule: Train the rounds as the server does, with the epochs, the rate and the share of the trained weights
            of info.yaml instead of ``steps`` and ``learning_rate``; an epoch is a step for each labelled case.
    """

    rounds: int
    start: int
    per_round: int
    pool: int
    start_steps: int
    steps: int
    batch_size: int
    patch_size: int
    learning_rate: float
    server_rule: bool = False


class StartingPoint:
    """Common start of all strategies of one seed: the pool, the initial labels, the weak model and its Dice.

    Args:
        cases: Cases of the patients to train on.
        test: Cases of the held-out patients.
        info: ``info.yaml``.
        plan: Size of the simulation.
        seed: Seed of the choice of cases, the weights and the patches.
    """

    def __init__(
        self, cases: Sequence[Scan], test: Sequence[Scan], *, info: Mapping[str, Any], plan: Plan, seed: int
    ) -> None:
        drawn = random.Random(seed).sample(sorted(cases, key=lambda case: case.name), plan.pool)
        self.pool = {case.name: case for case in drawn}
        self.labelled = [case.name for case in drawn[: plan.start]]
        self.test = test
        self.info = info
        self.plan = plan
        self.seed = seed
        torch.manual_seed(seed)
        self.network = AttentionResidualUNet(**info["network"])
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._train(self.network, self.labelled, plan.start_steps, plan.learning_rate, 0)
        self.dice = self.measure(self.network)

    def retrain(self, network: nn.Module, labelled: Sequence[str], number: int) -> None:
        """Train ``network`` on all cases labelled so far, in round ``number``."""
        if not self.plan.server_rule:
            self._train(network, labelled, self.plan.steps, self.plan.learning_rate, number)
            return
        rule = self.info["config"]["train"]
        start, patients = self.network.state_dict(), {self.pool[name].patient for name in labelled}
        network.load_state_dict(start)
        self._train(network, labelled, rule["max_epochs"] * len(labelled), rule["learning_rate"], number)
        share = trained_share(len(patients), rule["prior_patients"])
        network.load_state_dict(weighted_mean(start, network.state_dict(), share))

    def _train(self, network: nn.Module, labelled: Sequence[str], steps: int, rate: float, number: int) -> None:
        cases = [self.pool[name] for name in labelled]
        hosts = [case for case in cases if is_whole(case, self.info)]
        crops = [_around_tumour(case) if is_whole(case, self.info) else case for case in cases if case.label.any()]
        sampler = PatchSampler(
            crops,
            hosts,
            preprocessing=self.info["preprocessing"],
            size=self.plan.patch_size,
            seed=1000 * self.seed + number,
        )
        weights = self.info["config"]["train"]
        loss = HybridLoss(weights["loss_lambda"], weights["focal_gamma"], weights["focal_alpha"])
        optimizer = torch.optim.Adam(network.parameters(), rate)
        schedule: torch.optim.lr_scheduler.LRScheduler = (
            torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
            if self.plan.server_rule and number
            else torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
        )
        network.train()
        for _ in range(steps):
            image, label = sampler.batch(self.plan.batch_size)
            optimizer.zero_grad()
            loss(network(image.to(memory_format=torch.channels_last)), label).backward()
            optimizer.step()
            schedule.step()
        network.eval()

    def measure(self, network: nn.Module) -> float:
        """Return the mean Dice of the held-out cases, at a probability of 0.5 and on the grid of the network."""
        found = self._masks(network, self.test)
        return float(np.mean([VoxelCounts.of(mask, case.label.numpy()).dice for case, mask in found]))

    def strokes(self, network: nn.Module, names: Sequence[str]) -> list[int]:
        """Return the number of strokes that correct a network's mask of each of some cases of the pool."""
        found = self._masks(network, [self.pool[name] for name in names])
        counts = {case.name: strokes(mask, case.label.numpy(), self._pixel_mm) for case, mask in found}
        return [counts[name] for name in names]

    def scores(self, measures: Sequence[str], network: nn.Module, names: Sequence[str]) -> dict[str, dict[str, float]]:
        """Return the scores of cases of the pool by a network, for each measure, with the same code as the server."""
        scores: dict[str, dict[str, float]] = {measure: {} for measure in measures}
        cases = [self.pool[name] for name in names]
        for case, maps in scan_maps(measures[0], network, cases, self.info["preprocessing"]) if measures else ():
            for measure in measures:
                scores[measure][case.name] = uncertainty(measure, maps, self._pixel_mm**2 * case.spacing)
        return scores

    @property
    def _pixel_mm(self) -> float:
        return self.info["preprocessing"]["field_mm"] / self.info["preprocessing"]["size"][0]

    def _masks(self, network: nn.Module, cases: Sequence[Scan]) -> Iterator[tuple[Scan, np.ndarray]]:
        for case, maps in scan_maps("uncertainty", network, cases, self.info["preprocessing"]):
            yield case, np.asarray(maps[0] >= 0.5)


def replay(start: StartingPoint, strategy: str, report: Callable[[str, int, int, float], None]) -> list[dict[str, Any]]:
    """Replay one strategy.

    Args:
        start: Common start of a seed.
        strategy: One of ``STRATEGIES``.
        report: Called after each round with the strategy, the round, the number of labels and the Dice.

    Returns:
        For the start and each round: number of ``labels``, ``dice`` on the held-out cases, the ``picked`` cases, and
        for each of them the ``strokes`` that correct the mask of the model of that moment. The labels of the start,
        which all strategies share, have none.
    """
    network, labelled = copy.deepcopy(start.network), list(start.labelled)
    history: list[dict[str, Any]] = [
        {"labels": len(labelled), "dice": start.dice, "picked": list(labelled), "strokes": []}
    ]
    scores: dict[str, dict[str, float]] = {}
    choose = _strategy(strategy, scores, start)
    for number in range(1, start.plan.rounds + 1):
        pool = _Pool(start.pool, labelled)
        scores.update(start.scores(_MEASURES_OF[strategy], network, pool.get_unlabeled_images()))
        picked = [pool.take(choose) for _ in range(start.plan.per_round)]
        corrected = start.strokes(network, picked)
        labelled += picked
        start.retrain(network, labelled, number)
        history.append(
            {"labels": len(labelled), "dice": start.measure(network), "picked": picked, "strokes": corrected}
        )
        report(strategy, number, len(labelled), history[-1]["dice"])
    return history


def _around_tumour(scan: Scan) -> Scan:
    """Return the box around the largest lesion of a whole scan, with a margin, as a crop."""
    components, _ = connected_components(scan.label.numpy())
    largest = np.bincount(components.ravel())[1:].argmax()
    box = ndimage.find_objects(components)[largest]
    window = tuple(slice(max(side.start - _MARGIN_PX, 0), side.stop + _MARGIN_PX) for side in box)
    target = scan.target[window]
    return Scan(scan.name, scan.image[window], target, scan.spacing, tuple(range(target.shape[2])), scan.patient_id)


def _strategy(name: str, scores: Mapping[str, Mapping[str, float]], start: StartingPoint) -> Strategy:
    match name:
        case "random":
            return Random(start.seed)
        case "foreground_random":
            return ForegroundRandom(lambda: scores["marked"], start.seed)
        case "stratified_entropy":
            plan = start.plan
            decay = (plan.start, plan.start + (plan.rounds - 1) * plan.per_round)
            return StratifiedEntropy(scores.__getitem__, decay, start.seed)
    return UncertaintySampling(name, lambda: scores[name])


class _Pool:
    """Part of the datastore interface that strategies use."""

    def __init__(self, names: Iterable[str], labelled: Sequence[str]) -> None:
        self._labelled = list(labelled)
        self._unlabelled = [name for name in names if name not in labelled]

    def get_unlabeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        return list(self._unlabelled)

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        return list(self._labelled)

    def take(self, strategy: Strategy) -> str:
        """Let a strategy choose a case, and label it."""
        name = strategy({}, self)["id"]
        self._unlabelled.remove(name)
        self._labelled.append(name)
        return name
