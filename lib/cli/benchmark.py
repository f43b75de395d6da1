"""``python main.py benchmark``: times of this machine, as ratios where they compare."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from lib.benchmark.folder import frames_per_second, index_seconds, link_instances, orthanc_frames_per_second
from lib.benchmark.processes import ServerProcess, free_port, serving
from lib.benchmark.server import info_during_inference
from lib.errors import UserError
from lib.networks import AttentionResidualUNet
from lib.phantoms import write_demo_studies
from lib.settings import APP_DIR, load_info


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--studies", type=Path, help="DICOM folder to measure on (default: generated phantoms)")
    parser.add_argument("--instances", type=int, default=2000, help="files to index (default 2000)")


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="lunglabel-benchmark-") as name:
        scratch = Path(name)
        studies = args.studies or scratch / "phantoms"
        if args.studies is None:
            write_demo_studies(studies)
        if not studies.is_dir():
            raise UserError(f"{studies} is no folder.")
        print(
            f"Measured on {studies if args.studies else 'generated phantoms'}, {torch.get_num_threads()} CPU threads, "
            f"{torch.cuda.get_device_name(0) if torch.cuda.is_available() else 'no GPU'}"
        )
        count = link_instances(studies, scratch / "many", args.instances)
        first, again = index_seconds(scratch / "many", scratch / "many-index")
        print(f"Index {count} instances           {first:8.2f} s, again when nothing changed {again:.2f} s")
        with _server(studies, scratch) as server:
            ours, frames = frames_per_second(f"{server.url}/proxy/dicom/wado")
            idle, busy, inference = info_during_inference(server.url)
        theirs = orthanc_frames_per_second(studies, scratch / "orthanc")
        beside = f"Orthanc {theirs:.0f}, ratio {ours / theirs:.2f}" if theirs else "Orthanc is not installed"
        print(f"Frames per second ({frames} frames)    {ours:6.0f}, {beside}")
        print(f"GET /info/ idle                 {1000 * idle:8.1f} ms")
        print(f"GET /info/ during an inference  {1000 * busy:8.1f} ms, ratio {busy / idle:.1f}")
        print(f"That inference                  {inference:8.1f} s")
    return 0


@contextlib.contextmanager
def _server(studies: Path, scratch: Path) -> Iterator[ServerProcess]:
    """The real server; where no weights are shipped, with untrained ones: they are as fast."""
    models = scratch / "model"
    models.mkdir()
    shipped, weights = APP_DIR / "model" / "pretrained_lung_tumor.pt", models / "pretrained_lung_tumor.pt"
    if shipped.exists():
        shutil.copyfile(shipped, weights)
    else:
        torch.save({"model": AttentionResidualUNet(**load_info()["network"]).state_dict()}, weights)
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "monailabel.main",
        "start_server",
        "--app",
        str(APP_DIR),
        "--studies",
        str(studies),
    ]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    command += ["--conf", "workspace", str(scratch / "workspace"), "--conf", "model_dir", str(models)]
    url = f"http://127.0.0.1:{port}"
    with serving(command, url=url, ready="/info/", directory=scratch / "server") as server:
        yield server
