"""The weights that a training continues, and the mean of the trained weights with them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lib.inference.candidate_judge import CLASSIFIER_ENTRY, CandidateJudge, judge_in
from lib.networks.weights import load_weights, read_weights, state_of
from lib.publishing import ModelStore

State = dict[str, Any]


class StartWeights:
    """The weights of the version in use when a training starts, for each fold and for all patients.

    They are read once, so that all trainings of a candidate continue the same version, whatever is put into use
    meanwhile.

    Args:
        store: Store of the versions.
        network: Network of these weights; not modified.
        pretrained: Whether to start from a version at all; otherwise the weights are random.

    Attributes:
        version: Id of the version; None without one, and then the trainings start from random weights.
        manifest: Its manifest; None for the shipped weights and without a version.
        folds: Weights files of its folds.
    """

    def __init__(self, store: ModelStore, network: nn.Module, pretrained: bool = True) -> None:
        self._network = copy.deepcopy(network)
        self.version: str | None = None
        self._judge: CandidateJudge | None = None
        if pretrained and store.serving_version() is not None:
            serving, content = store.load_serving(self._network)
            self.version = serving.version
            self._judge = judge_in(content, f"of version {self.version}")
        self.manifest = store.manifest(self.version) if self.version else None
        self.folds = store.fold_weights(self.version) if self.version else {}

    def of(self, fold: int | None) -> State:
        """Return the weights for a fold, which are those of all patients if the version has none of the fold.

        Raises:
            UserError: The weights of the fold are damaged.
        """
        if fold in self.folds:
            network = copy.deepcopy(self._network)
            load_weights(network, self.folds[fold])
            return network.state_dict()
        return self._network.state_dict()

    def judge_of(self, fold: int | None) -> CandidateJudge | None:
        """Return the second stage of the version for a fold; None if it has none of its own.

        Raises:
            UserError: That of the fold is damaged.
        """
        if fold in self.folds:
            return judge_in(read_weights(self.folds[fold]), f"at {self.folds[fold]}")
        return self._judge


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


def weighted_mean(start: State, trained: State, share: float) -> State:
    """Return the weighted mean of the weights before and after a training; ``share`` is that of the trained ones.

    Running statistics are averaged too; the mean of two networks of the same origin is again one that works
    (Wortsman et al., Robust fine-tuning of zero-shot models, 2022).
    """
    return {
        name: torch.lerp(start[name], value, share) if value.is_floating_point() else value
        for name, value in trained.items()
    }
