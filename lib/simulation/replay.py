"""A simulated run: a weak model, then rounds of choosing cases, labelling them with their true masks, and training."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monailabel.interfaces.tasks.strategy import Strategy
from scipy import ndimage
from torch import nn

from lib.activelearning import Random, UncertaintySampling
from lib.activelearning.uncertainty import MEASURES, uncertainty
from lib.evaluation.metrics import VoxelCounts
from lib.geometry.connected_components import connected_components
from lib.losses import HybridLoss
from lib.networks import AttentionResidualUNet
from lib.simulation.prediction import scan_maps
from lib.training.patches import PatchSampler
from lib.training.scans import Scan, is_whole

STRATEGIES = ("random", *MEASURES)

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
        self.train(self.network, self.labelled, plan.start_steps, 0)
        self.dice = self.measure(self.network)

    def train(self, network: nn.Module, labelled: Sequence[str], steps: int, number: int) -> None:
        """Train ``network`` on all cases labelled so far, in round ``number``."""
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
        optimizer = torch.optim.Adam(network.parameters())
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.plan.learning_rate, total_steps=steps)
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
        found = scan_maps("uncertainty", network, self.test, self.info["preprocessing"])
        return float(
            np.mean([VoxelCounts.of(np.asarray(maps[0] >= 0.5), case.label.numpy()).dice for case, maps in found])
        )

    def uncertainties(self, measure: str, network: nn.Module, names: Sequence[str]) -> dict[str, float]:
        """Return the uncertainty of a network on cases of the pool, with the same code as the server."""
        preprocessing = self.info["preprocessing"]
        pixel_mm2 = (preprocessing["field_mm"] / preprocessing["size"][0]) ** 2
        found = scan_maps(measure, network, [self.pool[name] for name in names], preprocessing)
        return {case.name: uncertainty(measure, maps, pixel_mm2 * case.spacing) for case, maps in found}


def replay(start: StartingPoint, strategy: str, report: Callable[[str, int, int, float], None]) -> list[dict[str, Any]]:
    """Replay one strategy.

    Args:
        start: Common start of a seed.
        strategy: One of ``STRATEGIES``.
        report: Called after each round with the strategy, the round, the number of labels and the Dice.

    Returns:
        For the start and each round: number of ``labels``, ``dice`` on the held-out cases, and the ``picked`` cases.
    """
    network, labelled = copy.deepcopy(start.network), list(start.labelled)
    history: list[dict[str, Any]] = [{"labels": len(labelled), "dice": start.dice, "picked": list(labelled)}]
    scores: dict[str, float] = {}
    choose = _strategy(strategy, scores, start.seed)
    for number in range(1, start.plan.rounds + 1):
        pool = _Pool(name for name in start.pool if name not in labelled)
        if isinstance(choose, UncertaintySampling):
            scores.update(start.uncertainties(strategy, network, pool.names))
        picked = [pool.take(choose) for _ in range(start.plan.per_round)]
        labelled += picked
        start.train(network, labelled, start.plan.steps, number)
        history.append({"labels": len(labelled), "dice": start.measure(network), "picked": picked})
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


def _strategy(name: str, scores: Mapping[str, float], seed: int) -> Strategy:
    return Random(seed) if name == "random" else UncertaintySampling(name, lambda: scores)


class _Pool:
    """Part of the datastore interface that strategies use, over the unlabelled cases."""

    def __init__(self, names: Any) -> None:
        self.names = list(names)

    def get_unlabeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        return list(self.names)

    def take(self, strategy: Strategy) -> str:
        """Let a strategy choose a case, and remove it from the pool."""
        name = strategy({}, self)["id"]
        self.names.remove(name)
        return name
