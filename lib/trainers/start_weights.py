"""The weights that a training continues, and the mean of the trained weights with them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lib.inference.candidate_judge import CLASSIFIER_ENTRY, CandidateJudge, judge_in
from lib.networks.weights import load_state, load_weights, read_weights, state_of
from lib.publishing import ModelStore

State = dict[str, Any]


class StartWeights:
    """The weights that all trainings of a candidate start from, and those in use, which the candidate is to replace.

    Trainings start from the origin of the version in use, such as the shipped weights, and learn all labels again. If
    each continued the one before, the same labels would be learned in every round, until the network has forgotten
    everything else (docs/method.md).

    Both are read once, so that all trainings of a candidate start from the same, whatever is put into use meanwhile.

    Args:
        store: Store of the versions.
        network: Network of these weights; not modified.
        pretrained: Whether to start from a version at all; otherwise the weights are random.

    Attributes:
        version: Id of the version in use; None without one, and then the trainings start from random weights.
        manifest: Its manifest; None for the shipped weights and without a version.
        origin_manifest: Manifest of the origin; None for the shipped weights and without a version.
        judge: Second stage of the origin; None if it has none of its own.
    """

    def __init__(self, store: ModelStore, network: nn.Module, pretrained: bool = True) -> None:
        self._network = copy.deepcopy(network)
        self._origin = copy.deepcopy(network)
        self.version: str | None = None
        self.judge = self._judge_in_use = None
        self.manifest = self.origin_manifest = None
        self._folds: dict[int, Path] = {}
        if pretrained and store.serving_version() is not None:
            serving, content = store.load_serving(self._network)
            assert serving.version
            self.version = serving.version
            self.manifest = store.manifest(self.version)
            self._judge_in_use = judge_in(content, f"of version {self.version}")
            self._folds = store.fold_weights(self.version)
            origin = store.origin(self.version)
            first = content if origin == self.version else store.read(origin)
            load_state(self._origin, state_of(first))
            self.origin_manifest = store.manifest(origin)
            self.judge = judge_in(first, f"of version {origin}")

    @property
    def state(self) -> State:
        """The weights that the trainings start from."""
        return self._origin.state_dict()

    def in_use(self, fold: int | None) -> State:
        """Return the weights in use for a fold, which are those of all patients if the version has none of the fold.

        Raises:
            UserError: The weights of the fold are damaged.
        """
        if fold in self._folds:
            network = copy.deepcopy(self._network)
            load_weights(network, self._folds[fold])
            return network.state_dict()
        return self._network.state_dict()

    def judge_in_use(self, fold: int | None) -> CandidateJudge | None:
        """Return the second stage of the version in use for a fold; None if it has none of its own.

        Raises:
            UserError: That of the fold is damaged.
        """
        if fold in self._folds:
            return judge_in(read_weights(self._folds[fold]), f"at {self._folds[fold]}")
        return self._judge_in_use


def save(state: State, path: Path, judge: CandidateJudge | None = None) -> Path:
    """Write weights in the format of MONAI Label, with their own second stage if there is one, and return the path."""
    torch.save({"model": state, **({CLASSIFIER_ENTRY: judge.content()} if judge else {})}, path)
    return path


def save_mean(start: State, trained: Path, share: float, path: Path, judge: CandidateJudge | None = None) -> Path:
    """Write `weighted_mean` and return its path.

    Args:
        start: Weights before the training.
        trained: File of the weights after it.
        share: Share of the trained ones, 0 to 1.
        path: File to write.
        judge: Second stage to write with them.
    """
    return save(weighted_mean(start, state_of(trained.read_bytes()), share), path, judge)


def trained_share(patients: int, prior_patients: float) -> float:
    """Return the share of trained weights in their mean with those before: the more patients, the larger.

    Args:
        patients: Number of patients trained on.
        prior_patients: Number that the weights before count as.
    """
    return patients / (patients + prior_patients)


def weighted_mean(start: State, trained: State, share: float) -> State:
    """Return the weighted mean of the weights before and after a training; ``share`` is that of the trained ones.

    Running statistics are averaged too; the mean of two networks of the same origin is again one that works
    (Wortsman et al., Robust fine-tuning of zero-shot models, 2022).
    """
    return {
        name: torch.lerp(start[name], value, share) if value.is_floating_point() else value
        for name, value in trained.items()
    }
