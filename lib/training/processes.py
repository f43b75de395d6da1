"""A training in several processes, started by ``torchrun``: the same batches, losses and weights as in one process.

The training of a server is one of several processes if the machine has several GPUs; see `lib.trainers.all_gpus`.
"""

from __future__ import annotations

import atexit
import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from monai.inferers import Inferer
from monai.utils import convert_to_tensor
from torch import nn
from torch.distributed.nn.functional import all_gather, all_reduce
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from lib.errors import UserError
from lib.processes.process_group import RENDEZVOUS

# The others wait while the first process reads all volumes from a PACS, or measures. What started them ends them if one
# fails.
_LONGEST_WAIT = timedelta(days=7)


@dataclass(frozen=True)
class Processes:
    """The processes of this training, this one among them.

    Every process draws the whole batch from the same seed and computes its share of it. The loss needs the whole batch
    (batch Dice), so the logits are gathered; batch normalisation uses the statistics of the whole batch.

    Attributes:
        rank: Number of this process, from 0.
        count: Number of processes.
        device: Device of this process.
    """

    rank: int
    count: int
    device: torch.device

    @classmethod
    def alone(cls) -> Processes:
        """Return this process alone."""
        return cls(0, 1, torch.device("cuda" if torch.cuda.is_available() else "cpu"))

    @classmethod
    def of_environment(cls) -> Processes:
        """Return the processes that ``torchrun`` or `process_group` has started, and connect to them; else this one."""
        cuda = torch.cuda.is_available()
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count == 1:
            return cls.alone()
        if cuda:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        if not dist.is_initialized():
            place: dict[str, Any] = {}
            if file := os.environ.get(RENDEZVOUS):
                place = {"init_method": f"file://{file}", "rank": int(os.environ["RANK"]), "world_size": count}
            dist.init_process_group("nccl" if cuda else "gloo", timeout=_LONGEST_WAIT, **place)
            atexit.register(_disconnect)
        device = torch.device("cuda", torch.cuda.current_device()) if cuda else torch.device("cpu")
        return cls(dist.get_rank(), count, device)

    @property
    def is_first(self) -> bool:
        """Whether this process measures, logs and writes files."""
        return self.rank == 0

    def wrap(self, network: nn.Module) -> nn.Module:
        """Return the network to be called in training, which shares the parameters of ``network``."""
        if self.count == 1:
            return network
        _synchronise_statistics(network)
        return DistributedDataParallel(network, broadcast_buffers=False)

    def share(self, batch: torch.Tensor) -> torch.Tensor:
        """Return this process' part of a batch (B, …).

        Raises:
            UserError: B is not divisible by the number of processes.
        """
        if len(batch) % self.count:
            raise UserError(
                f"A batch of {len(batch)} cannot be divided among {self.count} processes. Choose another --batch-size "
                "or --nproc-per-node."
            )
        return batch.chunk(self.count)[self.rank]

    def gather(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the logits of the whole batch, in its order; gradients flow back to all processes."""
        return logits if self.count == 1 else torch.cat(all_gather(logits.contiguous()))

    def of_first(self, value: Any) -> Any:
        """Return in all processes what the first one calls this with."""
        if self.count == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values)
        return values[0]

    def wait(self) -> None:
        """Wait until all processes are here, so that none reads a file that the first is writing."""
        if self.count > 1:
            dist.barrier()


class SharingInferer(Inferer):
    """Inferer of a MONAI trainer: each process computes its share of the batch, and returns the logits of all.

    Args:
        processes: The processes.
        network: The network that is trained; those of all processes get the weights of the first.
    """

    def __init__(self, processes: Processes, network: nn.Module) -> None:
        self._processes = processes
        self._network = processes.wrap(network)

    def __call__(self, inputs: torch.Tensor, network: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Return the logits of a batch (B, …), which is the same in all processes."""
        batch = convert_to_tensor(inputs)  # without the metadata of MONAI, which cannot be divided
        return self._processes.gather(self._network(self._processes.share(batch)))


def _disconnect() -> None:
    """Disconnect this process from the others before the interpreter ends.

    The threads of Gloo release tensors of Python; while the interpreter ends, that aborts the process.
    """
    if dist.is_initialized():
        dist.destroy_process_group()


def _synchronise_statistics(network: nn.Module) -> None:
    """Make batch normalisation use the whole batch, in place, so that the average of the weights sees it, too.

    ``torch.nn.SyncBatchNorm`` does this on GPUs only.
    """
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.forward = _SynchronisedForward(module)  # type: ignore[method-assign]


@dataclass(frozen=True)
class _SynchronisedForward:
    module: Any

    def __call__(self, input: torch.Tensor) -> torch.Tensor:
        """Normalise (B, C, …) by mean and variance of the batches of all processes; update the running statistics."""
        module = self.module
        if not module.training:
            return type(module).forward(module, input)
        axes = [0, *range(2, input.ndim)]
        values = input.float()
        count = torch.tensor(float(values.numel() // values.shape[1]), device=input.device)
        sums = all_reduce(torch.cat([values.sum(axes), values.square().sum(axes), count[None]]))
        total = sums[-1]
        mean, squares = sums[:-1].chunk(2)
        mean = mean / total
        variance = (squares / total - mean.square()).clamp_min(0)
        with torch.no_grad():
            module.num_batches_tracked += 1
            unbiased = variance * total / (total - 1)
            module.running_mean.lerp_(mean.to(module.running_mean), module.momentum)
            module.running_var.lerp_(unbiased.to(module.running_var), module.momentum)
        scale = module.weight * torch.rsqrt(variance + module.eps)
        shape = (1, -1, *[1] * (input.ndim - 2))
        return (values * scale.view(shape) + (module.bias - mean * scale).view(shape)).to(input.dtype)
