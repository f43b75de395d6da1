"""The training loop: Adam on the hybrid loss, with a running mean of the weights; seeded and resumable."""

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.optim.swa_utils import AveragedModel

from lib.errors import UserError, in_one_line
from lib.losses import HybridLoss
from lib.networks.weights import load_weights
from lib.storage.atomic import write_atomically, write_json
from lib.storage.integrity import sha256_of
from lib.storage.locked_folder import locked_folder
from lib.training.processes import Processes
from lib.training.run_manifest import FILE, WEIGHTS, is_finished, read_run
from lib.training.run_settings import LoopSettings
from lib.training.training_curve import training_curve

logger = logging.getLogger(__name__)

_EMA_DECAY = 0.998
_WARM_UP_STEPS = 100

Batches = Iterable[tuple[torch.Tensor, torch.Tensor]]


def optimise(
    make_network: Callable[[], torch.nn.Module],
    batches: Callable[[int], Batches],
    settings: LoopSettings,
    manifest: dict[str, Any],
    output: Path,
    *,
    measure: Callable[[torch.nn.Module], Mapping[str, float | None]],
    after_step: Callable[[torch.Tensor], None] | None = None,
    set_mode: Callable[[torch.nn.Module], object] = torch.nn.Module.train,
) -> Path:
    """Train a network and return the path of its weights, ``output/model.pt``.

    The weights are an exponential moving average (EMA) over the steps. A stopped run resumes from
    ``output/resume.pt``, also in another number of processes; a finished one is not repeated.

    Args:
        make_network: Returns the network with its initial weights; called after the seed was set.
        batches: Returns the batches after a number of steps: images (B, C, *spatial) and targets (B, 1, *spatial).
        settings: Settings of the loop.
        manifest: Manifest of the run before its first step; its history is extended.
        output: Folder of the run.
        measure: Returns what the history notes of the averaged network, which it must not modify.
        after_step: Called with the logits of each batch.
        set_mode: Puts the network into training mode.

    Raises:
        UserError: The folder has a run with other settings or data, its checkpoint is damaged, another process trains
            in it, or there are more cycles than steps.
    """
    steps = settings.steps
    if not 1 <= settings.cycles <= steps:
        raise UserError(f"{steps} steps cannot have {settings.cycles} cycles; give at least one step per cycle.")
    processes = Processes.of_environment()
    problem = f"Another process trains in {output}. Wait for its end, or choose another --output."
    with locked_folder(output, problem) if processes.is_first else contextlib.nullcontext():
        before = read_run(output, manifest)
        if is_finished(output, before):
            logger.info("%s is finished.", output)
            return output / WEIGHTS
        torch.manual_seed(settings.seed)
        device = processes.device
        network = make_network()
        layout = _memory_format(network)
        network = network.to(device, memory_format=layout)  # type: ignore[call-overload]
        parts = _checkpointed(network, settings)
        average, optimizer, schedule = parts["average"], parts["optimizer"], parts["schedule"]
        loss_function = HybridLoss(*manifest["settings"]["loss"].values())
        first = _resume(output, parts, manifest, before)
        set_mode(network)
        trained = processes.wrap(network)
        processes.wait()
        running = 0.0
        start = time.monotonic() - (manifest["history"][-1]["seconds"] if manifest["history"] else 0)
        for step, (image, label) in zip(range(first + 1, steps + 1), batches(first), strict=False):
            optimizer.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, enabled=settings.bfloat16):
                shared = trained(processes.share(image).to(device, memory_format=layout))
            logits = processes.gather(shared.float())
            cost = loss_function(logits, label.to(device))
            cost.backward()
            optimizer.step()
            schedule.step()
            average.update_parameters(network)
            if after_step:
                after_step(logits.detach())
            running = cost.item() if step == first + 1 else 0.98 * running + 0.02 * cost.item()
            if processes.is_first and (step % settings.save_every == 0 or step == steps):
                scores = measure(average.module)
                seconds = round(time.monotonic() - start)
                manifest["history"].append({"step": step, "seconds": seconds, "loss": round(running, 4), **scores})
                logger.info("Step %d of %d: loss %.3f, %s", step, steps, running, scores)
                _save(output, parts, manifest, step)
        if processes.is_first and first == steps:  # only the files beside the checkpoint are missing or damaged
            _save(output, parts, manifest, steps)
        processes.wait()
        return output / WEIGHTS


def initial_network(network: torch.nn.Module, weights: Path | None) -> torch.nn.Module:
    """Return a new network, with weights if there are some to begin with."""
    if weights:
        load_weights(network, weights)
    return network


def _checkpointed(network: torch.nn.Module, settings: LoopSettings) -> dict[str, Any]:
    """Return the network with its moving average, optimiser and schedule of the learning rate."""
    average = AveragedModel(network, avg_fn=_running_mean, use_buffers=True)
    optimizer = torch.optim.Adam(network.parameters(), settings.learning_rate)
    cycle = settings.steps // settings.cycles
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step % cycle, cycle))
    return {"network": network, "average": average, "optimizer": optimizer, "schedule": schedule}


def _memory_format(network: torch.nn.Module) -> torch.memory_format:
    """Return the layout with which the convolutions of a network are faster on a CPU: channels last."""
    volumes = any(parameter.ndim == 5 for parameter in network.parameters())
    return torch.channels_last_3d if volumes else torch.channels_last


def _rate(step: int, cycle: int) -> float:
    """Return the factor of the learning rate at a step of a cycle: a short warm-up, then half a cosine to zero."""
    return min(1.0, (step + 1) / _WARM_UP_STEPS) * (1 + math.cos(math.pi * step / cycle)) / 2


def _running_mean(mean: torch.Tensor, value: torch.Tensor, count: torch.Tensor | int) -> torch.Tensor:
    """Return the moving average; with a shorter window at the beginning, so that the initial weights decay fast."""
    return torch.lerp(mean, value, max(1 - _EMA_DECAY, 9 / (10 + int(count)))) if mean.is_floating_point() else value


def _resume(output: Path, parts: Mapping[str, Any], manifest: dict[str, Any], before: Mapping[str, Any] | None) -> int:
    """Load the last checkpoint of the same run, if any, and return its step."""
    path = output / "resume.pt"
    if before is None or not path.exists():
        return 0
    try:
        checkpoint = torch.load(path, weights_only=True, map_location="cpu")
        for name, part in parts.items():
            part.load_state_dict(checkpoint[name])
    except Exception as error:  # torch raises many kinds
        raise UserError(
            f"{path} is damaged ({in_one_line(error)}). Restore it from a copy, or delete it to train from the first "
            "step again."
        ) from error
    manifest["history"] = [entry for entry in before["history"] if entry["step"] <= checkpoint["step"]]
    logger.info("Resuming from step %d.", checkpoint["step"])
    return checkpoint["step"]


def _save(output: Path, parts: Mapping[str, Any], manifest: dict[str, Any], step: int) -> None:
    """Write weights, manifest and checkpoint; in this order, so that a run killed in between repeats these steps."""
    weights = {"model": parts["average"].module.state_dict()}
    write_atomically(output / WEIGHTS, lambda path: torch.save(weights, path))
    manifest["sha256"] = sha256_of(output / WEIGHTS)
    write_json(output / FILE, manifest)
    curve = training_curve(manifest["history"])
    write_atomically(output / "curve.svg", lambda path: path.write_text(curve, encoding="utf-8"))
    state = {name: part.state_dict() for name, part in parts.items()} | {"step": step}
    write_atomically(output / "resume.pt", lambda path: torch.save(state, path))
