"""The training of a server in two processes: the losses and the version of one. And when it takes several GPUs."""

import atexit
import json
import os
import subprocess
import sys
from datetime import timedelta

import psutil
import pytest
import torch
import torch.distributed as dist
from monailabel.tasks.train.basic_train import BasicTrainTask

from lib.processes.process_group import RENDEZVOUS, group_command
from lib.publishing import ModelStore
from lib.settings import APP_DIR
from lib.trainers import all_gpus
from lib.trainers.candidate import Part
from lib.trainers.unfinished_run import Run, UnfinishedRun
from lib.training.processes import Processes
from tests.support.train_task import Labelled, task, weights_of

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


FAILING = """
import atexit, os, psutil, time
import torch.distributed as dist

def fail_slowly():
    atexit.register(time.sleep, 3)  # after the other one has missed this one, and has ended
    atexit.register(dist.destroy_process_group)
    raise ValueError("The training diverged.")

rank = int(os.environ["RANK"])
dist.init_process_group("gloo", f"file://{os.environ['LUNGLABEL_RENDEZVOUS']}", rank=rank, world_size=2)
dist.barrier()
here = psutil.Process()
open = [one.laddr.ip for each in (here, here.parent()) for one in each.net_connections() if one.status == "LISTEN"]
os.write(1, f"open: {' '.join(open)} process: {here.pid}\\n".encode())  # one write: both processes do it at once
dist.barrier()
if rank == 1:
    how_to_fail()
dist.barrier()
"""


def run(folder, script, processes, *arguments):
    """Run a script in processes of their own."""
    folder.mkdir()
    (folder / "script.py").write_text(script)
    command = group_command(processes, "script", arguments)
    command = command if processes > 1 else [sys.executable, "-m", "script", *arguments]
    environment = {**os.environ, "PYTHONPATH": f"{APP_DIR}{os.pathsep}{folder}", "OMP_NUM_THREADS": "1"}
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.run(command, env=environment, **output, timeout=600)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("failure", "sentence"),
    [
        ("fail_slowly()", "ValueError: The training diverged."),
        ("os.kill(os.getpid(), 9)", "Error: process 1 terminated with signal SIGKILL. Is there enough memory?"),
    ],
)
@pytest.mark.slow
def test_the_last_line_says_why_one_of_the_processes_failed(failure, sentence, tmp_path):
    """The others end, and none of them could be reached from another machine."""
    ended = run(tmp_path / "failing", FAILING.replace("how_to_fail()", failure), 2)
    lines = ended.stdout.splitlines()
    assert ended.returncode == 1
    assert lines[-1] == sentence, ended.stdout
    said = [line.split() for line in lines if line.startswith("open:")]
    assert len(said) == 2, ended.stdout
    assert {ip for line in said for ip in line[1:-2]} <= {"127.0.0.1", "::1"}
    assert not [line[-1] for line in said if psutil.pid_exists(int(line[-1]))]


def train(folder, info, cases, processes):
    """Train in processes of their own; return the loss of each step in the first one, and the last version."""
    ended = run(folder, SCRIPT, processes, str(folder), json.dumps(info), json.dumps(cases))
    assert ended.returncode == 0, ended.stdout[-3000:]
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
    monkeypatch.delenv(RENDEZVOUS, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")  # of the server
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
    assert command == [sys.executable, "-m", "lib.processes.process_group", "2", *task[1:]]
    assert os.environ["LUNGLABEL_SERVER_PROCESS"] == str(os.getpid()), "the new processes end with this one"
    monkeypatch.setenv(RENDEZVOUS, "file")
    all_gpus.restart_on(2)
    assert len(started) == 1


ABORTED_AT_THE_END = """
import atexit, json, os, sys

class Thread:
    def __del__(self):
        os.abort()

json.thread = Thread()  # of a module that outlives the script
atexit.register(os.write, 1, f"{os.environ['RANK']} ended\\n".encode())
sys.exit(int(sys.argv[1]))
"""


def test_processes_end_before_python_does(tmp_path):
    ended = run(tmp_path / "well", ABORTED_AT_THE_END, 2, "0")
    assert ended.returncode == 0, ended.stdout
    assert sorted(ended.stdout.split("\n")[:2]) == ["0 ended", "1 ended"]
    assert run(tmp_path / "failed", ABORTED_AT_THE_END, 2, "3").returncode == 1


FULL_DISK = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # a file can be made, but nothing written into it
raise OSError("No space left on device")
"""

INTERRUPTED = """
import os, signal, time
if os.environ["RANK"] == "1":
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)
"""

WORKING_THREAD = """
import sys, threading, time
from pathlib import Path

def write():
    time.sleep(0.5)
    Path(sys.argv[1], "written").touch()

threading.Thread(target=write).start()
"""


def test_failure_is_told_also_where_the_disk_is_full(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    ended = run(tmp_path / "full", FULL_DISK, 2)
    assert ended.returncode == 1
    assert ended.stdout.splitlines()[-1] == "OSError: No space left on device", ended.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["full"], "nothing is left behind"


def test_an_interrupted_process_has_not_succeeded(tmp_path):
    ended = run(tmp_path / "interrupted", INTERRUPTED, 2)
    assert ended.returncode == 1
    assert ended.stdout.splitlines()[-1] == "Error: process 1 terminated with exit code 130.", ended.stdout


def test_threads_finish_their_work_first(tmp_path):
    folder = tmp_path / "working"
    assert run(folder, WORKING_THREAD, 2, str(folder)).returncode == 0
    assert (folder / "written").exists()


def test_a_training_is_alone_where_the_server_was_started_by_others_as_one_of_several(monkeypatch):
    monkeypatch.delenv(RENDEZVOUS, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert all_gpus.connect().count == 1


def test_processes_wait_for_the_first_for_days(monkeypatch):
    """It may have to read the volumes of all cases from a PACS; by default the others give up after ten minutes."""
    connected = []
    for name, value in {RENDEZVOUS: "/tmp/file", "RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(dist, "init_process_group", lambda backend, **options: connected.append(options))
    monkeypatch.setattr(dist, "get_rank", lambda: 1)
    monkeypatch.setattr(atexit, "register", lambda function: None)
    assert Processes.of_environment().rank == 1
    (options,) = connected
    assert options.pop("timeout") >= timedelta(days=1)
    assert options == {"init_method": "file:///tmp/file", "rank": 1, "world_size": 2}


def test_a_request_does_not_start_the_processes_of_monailabel(train_info, tmp_path, monkeypatch):
    """They would each train alone, and fail."""
    asked = []
    monkeypatch.setattr(BasicTrainTask, "__call__", lambda self, request, datastore: asked.append(request))
    run = Run("name", str(tmp_path), {"multi_gpu": True})
    task(train_info, tmp_path)._optimise(Part("all", None, frozenset()), run, {"seed": 0}, None)
    assert [request["multi_gpu"] for request in asked] == [False]


def test_a_failure_in_another_process_is_no_interruption(train_info, tmp_path, monkeypatch):
    """After which the training would start again. If the first process was killed, it is one."""
    path = tmp_path / "training.json"
    run, former = (Run(name, str(tmp_path / name), {}) for name in ("run", "former"))
    train = task(train_info, tmp_path)
    others = Processes(1, 2, torch.device("cpu"))
    monkeypatch.setattr("lib.trainers.lung_tumor.connect", lambda: others)
    monkeypatch.setattr(Processes, "of_first", lambda self, value: (run, {}, [], ["all"]))
    monkeypatch.setattr(train, "_optimise", lambda *_: (_ for _ in ()).throw(ValueError("no")))

    def fail() -> None:
        with pytest.raises(ValueError, match="no"):
            train({"model": "lung_tumor"}, Labelled([]))

    for recorded, remains in ((run, False), (former, True)):
        with UnfinishedRun(path).recorded(recorded):
            fail()
            assert path.exists() == remains
    UnfinishedRun(path)._write(run)
    fail()
    assert UnfinishedRun(path).interrupted() == run
