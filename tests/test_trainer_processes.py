"""The training of a server in two processes: the losses and the version of one. And when it takes several GPUs."""

import json
import os
import subprocess
import sys

import pytest
import torch

from lib.publishing import ModelStore
from lib.settings import APP_DIR
from lib.trainers import all_gpus
from tests.support.train_task import weights_of

SCRIPT = """
import json, os, sys
from pathlib import Path
import torch
from tests.support.train_task import Labelled, record_losses, task

folder, info, cases, rank = Path(sys.argv[1]), *map(json.loads, sys.argv[2:4]), os.environ.get("RANK", "0")
torch.set_num_threads(1)
train = task(info, folder)
with torch.no_grad():
    for values in train._network.parameters():
        values += int(rank)  # the random start of a process is not that of another
losses = record_losses(train)
train({"model": "lung_tumor", "device": "cpu", "folds": 2}, Labelled(cases))
(folder / f"losses-{rank}.json").write_text(json.dumps(losses))
"""


def train(folder, info, cases, processes):
    """Train in processes of their own; return the loss of each step in the first one, and the last version."""
    folder.mkdir()
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    script = folder / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, *(launcher if processes > 1 else ()), str(script), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(APP_DIR), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [*command, json.dumps(info), json.dumps(cases)], env=environment, capture_output=True, text=True, timeout=600
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    losses = [json.loads(path.read_text()) for path in sorted(folder.glob("losses-*.json"))]
    assert losses == [pytest.approx(losses[0], abs=1e-6)] * processes, "all processes see the whole batch"
    store = ModelStore(folder)
    (version,) = store.manifests()
    return losses[0], version, weights_of(store.weights(version["version"]))


@pytest.mark.slow
def test_two_processes_train_a_version_as_one(train_info, chests, tmp_path):
    cases = [case | {"patient_id": name} for case, name in zip(chests, ("a", "b"), strict=True)]
    alone, version, weights = train(tmp_path / "one", train_info, cases, 1)
    together, same, shared = train(tmp_path / "two", train_info, cases, 2)
    assert len(alone) == len(together) == 8, "two folds of one scan, and both scans, in two epochs"
    assert together[:2] == pytest.approx(alone[:2], abs=1e-5)
    assert together == pytest.approx(alone, abs=0.02), "rounding grows with the steps"
    assert same["verdict"]["reason"] == version["verdict"]["reason"]
    for name, value in weights.items():
        torch.testing.assert_close(shared[name], value, atol=0.01, rtol=0.1, msg=name)


@pytest.mark.parametrize(
    ("batch", "device", "gpus", "expected"),
    [
        (24, ["A100:0", "A100:1"], 4, 4),
        (24, "cuda", 5, 4),  # the same number of patches for each
        (24, "cuda:1", 4, 1),
        (24, "cpu", 4, 1),
        (7, "cuda", 2, 1),
        (24, "cuda", 0, 1),
    ],
)
def test_a_batch_is_shared_by_as_many_gpus_as_divide_it(batch, device, gpus, expected, monkeypatch):
    monkeypatch.setattr(all_gpus.torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(all_gpus, "name_to_device", lambda name: name)
    assert all_gpus.gpus_for(batch, device) == expected


def test_only_a_training_process_of_the_server_starts_again(monkeypatch):
    started = []
    monkeypatch.setattr(all_gpus.os, "execv", lambda program, command: started.append(command))
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("LUNGLABEL_SERVER_PROCESS", "1")
    all_gpus.restart_on(2)
    task = ["-m", "monailabel.interfaces.utils.app", "-m", "train", "-r", "{}"]
    monkeypatch.setattr(all_gpus.sys, "orig_argv", [sys.executable, *task])
    monkeypatch.setattr(all_gpus.sys, "argv", ["app.py", *task[2:]])
    all_gpus.restart_on(1)
    assert not started
    all_gpus.restart_on(2)
    (command,) = started
    assert command[-len(task) :] == task
    assert command[command.index("--nproc-per-node") + 1] == "2"
    assert os.environ["LUNGLABEL_SERVER_PROCESS"] == str(os.getpid()), "the new processes end with this one"
    monkeypatch.setenv("WORLD_SIZE", "2")
    all_gpus.restart_on(2)
    assert len(started) == 1
