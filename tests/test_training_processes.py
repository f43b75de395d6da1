"""Training in two processes: the losses, weights and statistics of one, and resuming in another number."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lib.processes.process_group import group_command
from lib.settings import APP_DIR

STEPS = 6
SCRIPT = """
import sys
from pathlib import Path
import torch
from lib.networks import AttentionResidualUNet
from lib.training.optimisation import optimise
from lib.training.run_settings import LoopSettings

def batches(first):
    generator = torch.Generator().manual_seed(0)
    for step in range({steps}):
        image = torch.randn(4, 1, 32, 32, generator=generator)
        if step >= first:
            yield image, (image > 1).float()

losses = []
class Stop(Exception): ...
def note(logits):
    losses.append(logits)
    if len(losses) == stop:
        raise Stop

output, stop = Path(sys.argv[1]), int(sys.argv[2])
settings = LoopSettings(steps={steps}, batch_size=4, save_every=1)
loss = {{"loss_lambda": 0.5, "gamma": 2.0, "alpha": 0.75}}
manifest = {{"settings": {{"steps": {steps}, "loss": loss}}, "history": [], "checksums": {{}}, "left_out": []}}
torch.set_num_threads(1)
try:
    optimise(lambda: AttentionResidualUNet(in_channels=1, channels=[4, 8], attention=True, residual=True),
             batches, settings, manifest, output, measure=lambda network: {{}}, after_step=note)
except Stop:
    pass
"""


def train(folder: Path, processes: int, stop: int = STEPS + 1) -> list[float]:
    """Train in processes of their own, and return the running loss after each step."""
    script = folder.with_name("script.py")
    script.write_text(SCRIPT.format(steps=STEPS))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *(launcher if processes > 1 else ()), str(script), str(folder), str(stop)]
    environment = {**os.environ, "PYTHONPATH": str(APP_DIR), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stderr[-2000:]
    return [entry["loss"] for entry in json.loads((folder / "manifest.json").read_text())["history"]]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "resume.pt", weights_only=True)["network"]


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path):
    one = train(tmp_path / "one", 1)
    two = train(tmp_path / "two", 2)
    assert len(one) == STEPS
    assert one[0] > 0.1
    assert two == pytest.approx(one, abs=1e-4), "rounded to four digits"
    alone, together = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert alone.keys() == together.keys()
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, atol=2e-4, rtol=1e-3, msg=name)

    train(tmp_path / "resumed", 2, stop=4)
    resumed = train(tmp_path / "resumed", 1)
    assert len(resumed) == STEPS
    for name, value in weights(tmp_path / "resumed").items():
        torch.testing.assert_close(value, alone[name], atol=2e-4, rtol=1e-3, msg=name)


CONNECTED = """
import atexit, os, sys
from pathlib import Path
import torch.distributed as dist

def note_the_end():
    Path(sys.argv[1], os.environ["RANK"]).write_text(f"{count} processes, connected: {dist.is_initialized()}")

atexit.register(note_the_end)

from lib.training.processes import Processes

count = Processes.of_environment().count
"""


def test_processes_disconnect_before_the_interpreter_ends(tmp_path):
    """Else a thread of Gloo may abort the process after a training that succeeded."""
    (tmp_path / "script.py").write_text(CONNECTED)
    ends = tmp_path / "ends"
    ends.mkdir()
    command = group_command(2, "script", [str(ends)])
    environment = {**os.environ, "PYTHONPATH": f"{APP_DIR}{os.pathsep}{tmp_path}", "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert [path.read_text() for path in ends.iterdir()] == ["2 processes, connected: False"] * 2
