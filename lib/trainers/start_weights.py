"""The weights that a training starts from, and the mean of the trained weights with them."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lib.errors import UserError
from lib.inference.candidate_judge import CLASSIFIER_ENTRY, CandidateJudge, judge_in
from lib.networks.weights import load_state, load_weights, read_weights, state_of
from lib.publishing import ModelStore
from lib.publishing.measurement import unseen

logger = logging.getLogger(__name__)

State = dict[str, Any]


class LoadedVersion:
    """Network and second stage of a version, for all patients and without each fold.

    Args:
        store: Store of the versions.
        version: Id of the version; None for random weights.
        network: Its network, with the weights of all patients.
        content: The file of these weights.
    """

    def __init__(self, store: ModelStore, version: str | None, network: nn.Module, content: bytes = b"") -> None:
        self.version = version
        self.manifest = store.manifest(version) if version else None
        self.folds = store.fold_weights(version) if version else {}
        self._network = network
        self._judge = judge_in(content, f"of version {version}") if version else None

    def unseen(self, folds: Mapping[str, int]) -> dict[str, int]:
        """Return the folds of the patients that this version can be measured on; see `measurement.unseen`."""
        return unseen(self.manifest, self.folds, folds)

    def state(self, fold: int | None) -> State:
        """Return the weights for a fold, which are those of all patients if the version has none of the fold.

        Raises:
            UserError: The weights of the fold are damaged.
        """
        if fold in self.folds:
            network = copy.deepcopy(self._network)
            load_weights(network, self.folds[fold])
            return network.state_dict()
        return self._network.state_dict()

    def judge(self, fold: int | None) -> CandidateJudge | None:
        """Return the second stage for a fold; None if the version has none of its own.

        Raises:
            UserError: That of the fold is damaged.
        """
        if fold in self.folds:
            return judge_in(read_weights(self.folds[fold]), f"at {self.folds[fold]}")
        return self._judge


class StartWeights:
    """The weights that all trainings of a candidate start from, and those in use, which the candidate is to replace.

    Trainings start from the origin of the version in use, such as the shipped weights, and learn all labels again. If
    each continued the one before, the same labels would be learned in every round, until the network has forgotten
    everything else (docs/method.md). If the origin is damaged or of another network, they continue the version in use.

    Both are read once, so that all trainings of a candidate start from the same, whatever is put into use meanwhile.

    Args:
        store: Store of the versions.
        network: Network of these weights; not modified.
        pretrained: Whether to start from a version at all; otherwise the weights are random.

    Attributes:
        version: Id of the version in use; None without one, and then the trainings start from random weights.
        in_use: The version in use.
        origin: The version that the trainings start from.
    """

    def __init__(self, store: ModelStore, network: nn.Module, pretrained: bool = True) -> None:
        self.in_use = self.origin = LoadedVersion(store, None, copy.deepcopy(network))
        if pretrained and store.serving_version() is not None:
            current = copy.deepcopy(network)
            serving, content = store.load_serving(current)
            self.in_use = LoadedVersion(store, serving.version, current, content)
            self.origin = self._origin(store, copy.deepcopy(network))
        self.version = self.in_use.version

    def usable(self, folds: Mapping[str, int]) -> dict[str, int]:
        """Return the folds of the patients that neither version has seen, so that a candidate can be measured on them.

        Args:
            folds: Folds of the labelled patients.
        """
        return self.in_use.unseen(self.origin.unseen(folds))

    def _origin(self, store: ModelStore, network: nn.Module) -> LoadedVersion:
        origin = store.origin(str(self.in_use.version))
        if origin == self.in_use.version:
            return self.in_use
        try:
            content = store.read(origin)
            load_state(network, state_of(content))
            return LoadedVersion(store, origin, network, content)
        except (ValueError, UserError) as error:
            logger.warning("Training continues version %s, not %s: %s", self.in_use.version, origin, error)
            return self.in_use


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
