"""A network on a device with the current weights of a source, loaded again when the source has others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from lib.inference.candidate_judge import CandidateJudge
from lib.inference.gpu_memory import within_gpu_memory
from lib.inference.weights_source import WeightsId, WeightsSource


@dataclass(frozen=True)
class LoadedNetwork:
    """A network on a device, in evaluation mode, with the identity of its weights and their second stage, if any."""

    network: nn.Module
    weights: WeightsId
    judge: CandidateJudge | None


class NetworkLoader:
    """Loads the current weights of a source into a network. Thread-safe.

    Args:
        network: Returns a new, untrained network.
        weights: Source of the weights.
        memory_format: Layout of the network's weights, with which convolutions on a CPU are faster: channels last, of
            two or three dimensions. On a GPU it makes no difference.
    """

    def __init__(
        self, network: Callable[[], nn.Module], weights: WeightsSource, memory_format: torch.memory_format
    ) -> None:
        self._network = network
        self._weights = weights
        self._memory_format = memory_format
        self._loaded: dict[str, LoadedNetwork] = {}

    def load(self, device: str | None = None) -> LoadedNetwork:
        """Return the network with the current weights.

        Args:
            device: Name of a torch device (default: the GPU if there is one).

        Raises:
            UserError: There are no weights, they are of another network, or the GPU has too little memory.
        """
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        current = self._weights.current()
        loaded = self._loaded.get(device)
        if loaded is None or loaded.weights != current:
            network = self._network()
            weights, judge = self._weights.load(network)
            with within_gpu_memory():
                network.eval().to(torch.device(device), memory_format=self._memory_format)  # type: ignore[call-overload]
            loaded = LoadedNetwork(network, weights, judge)
            # Replaced instead of modified, because other threads may be using it.
            others = {name: other for name, other in self._loaded.items() if other.weights == weights}
            self._loaded = others | {device: loaded}
        return loaded
