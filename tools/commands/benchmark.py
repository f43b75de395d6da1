"""``python main.py benchmark``: performance of this machine, with ratios that can be compared."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

from lib.cli.arguments import add_studies
from lib.clicks.model import ClickModel
from lib.errors import UserError
from lib.geometry.voxel_grid import VoxelGrid
from lib.networks import AttentionResidualUNet
from lib.phantoms import write_demo_studies
from lib.publishing import ModelStore
from lib.publishing.stores import CLICKS, SHIPPED_FILES
from lib.settings import APP_DIR, load_info
from tools.benchmark.busy import measure as measure_busy
from tools.benchmark.clicks import measure as measure_clicks
from tools.benchmark.clicks import write_lesions
from tools.benchmark.folder import frames_per_second, orthanc_frames_per_second
from tools.benchmark.inference import (
    InferenceCost,
    crf_slice_by_slice_seconds,
    inference_cost,
    training_slices_per_second,
    write_phantom,
    write_repeated,
)
from tools.benchmark.memory import MEGABYTE, write_long_scan
from tools.benchmark.memory import measure as measure_memory
from tools.benchmark.responsiveness import first_volume, info_during_inference
from tools.benchmark.scale import measure as measure_scale
from tools.benchmark.server import wait_for_images
from tools.support.app_server import monailabel_server
from tools.support.processes import ServerProcess

_LABELLED = ("LUNG-003", "LUNG-001", "LUNG-006")
_LONG = 300  # slices of the generated scan on which the browser is measured, too


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_studies(parser, required=False, more=", to measure on; a folder only (default: generated phantoms)")
    parser.add_argument(
        "--instances",
        type=int,
        nargs="+",
        default=[2000],
        help="numbers of small generated instances to index (default 2000; 0: an empty folder)",
    )
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--only-scale", action="store_true", help="measure the sizes of --instances and nothing else")
    only.add_argument("--only-memory", action="store_true", help="measure the memory of --slices and nothing else")
    only.add_argument(
        "--only-busy", action="store_true", help="measure an inference during a training and nothing else"
    )
    only.add_argument("--only-clicks", action="store_true", help="measure outlines from clicks and nothing else")
    only.add_argument(
        "--only-browser",
        action="store_true",
        help="measure what a reader waits for in OHIF, in Chromium (needs requirements-test.txt), and nothing else",
    )
    parser.add_argument("--json", type=Path, help="with --only-browser: file for the times")
    parser.add_argument(
        "--slices",
        type=int,
        nargs="+",
        default=[300, 600, 1200, 2400],
        help="with --only-memory: slices of 512x512 pixels, from few to many, of the scans it infers on (default "
        "300 600 1200 2400; the longest needs 1.3 GB of disk for its DICOM files and as much for its volume)",
    )


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="lunglabel-benchmark-") as name:
        scratch = Path(name)
        studies = Path(args.studies) if args.studies else scratch / "phantoms"
        if args.only_memory:
            _print_memory(args.slices, scratch)
            return 0
        if args.only_busy:
            _print_busy(scratch)
            return 0
        if args.only_clicks:
            _print_clicks(scratch)
            return 0
        if args.only_browser:
            _print_browser(args.studies and Path(args.studies), args.json, scratch)
            return 0
        if args.studies is None and not args.only_scale:
            write_demo_studies(studies)
        if not studies.is_dir() and not args.only_scale:
            raise UserError(f"{studies} is not a folder.")
        print(
            f"Measured on {studies if args.studies else 'generated phantoms'}, {torch.get_num_threads()} CPU threads, "
            f"{torch.cuda.get_device_name(0) if torch.cuda.is_available() else 'no GPU'}"
        )
        models = _models(scratch / "model")
        _print_scale(args.instances, scratch, models)
        if args.only_scale:
            return 0
        with _server(studies, models, scratch / "workspace") as server:
            ours, frames = frames_per_second(f"{server.url}/proxy/dicom/wado")
            idle, busy, inference = info_during_inference(server.url)
            volume = first_volume(server.url, scratch / "volume.nrrd") if args.studies else None
        theirs = orthanc_frames_per_second(studies, scratch / "orthanc")
        beside = f"Orthanc {theirs:.0f}, ratio {ours / theirs:.2f}" if theirs else "Orthanc is not installed"
        print(f"Frames per second ({frames} frames)    {ours:6.0f}, {beside}")
        print(f"GET /info/ idle                 {1000 * idle:8.1f} ms")
        print(f"GET /info/ during an inference  {1000 * busy:8.1f} ms, ratio {busy / idle:.1f}")
        print(f"This inference                  {inference:8.1f} s")
        scan = write_repeated(volume or write_phantom(scratch / "phantom.nrrd"), scratch / "scan.nrrd")
        _print_inference(scan, models)
        _print_clicks(scratch)
        _print_busy(scratch)
    return 0


def _print_scale(sizes: list[int], scratch: Path, models: Path) -> None:
    """Print a line for each folder size as soon as it is measured."""
    print("Folder of small instances in series of 250: seconds until all are listed; response times while indexing")
    print("(median, longest)")
    titles = {"instances": 9, "series": 7, "first": 9, "of it CPU": 10, "restart": 9, "new seen": 9, "memory": 10}
    titles |= {"idle": 11, "study list": 16, "/info/": 16}
    print("".join(f"{title:>{width}}" for title, width in titles.items()))
    for count in sizes:
        cost = measure_scale(count, scratch, lambda *folders: _server(folders[0], models, folders[1], scored_images=0))
        answers = [f"{one[0]:.0f}, {one[1]:.0f} ms" if one else "-" for one in (cost.studies_ms, cost.info_ms)]
        values = [str(cost.instances), str(cost.series)]
        seconds = (cost.first_seconds, cost.first_cpu_seconds, cost.restart_seconds, cost.noticed_seconds)
        values += [f"{one:.1f} s" for one in seconds]
        values += [f"{cost.memory_mib:.0f} MiB", f"{cost.idle_cores:.2f} cores", *answers]
        print("".join(f"{value:>{width}}" for value, width in zip(values, titles.values(), strict=True)), flush=True)


def _print_memory(sizes: list[int], scratch: Path) -> None:
    """Print a line for each scan as soon as it is measured."""
    print("Peak memory of one inference, slices of 512x512 pixels (resident memory of the server; last column: per")
    print("additional slice)")
    titles = {"slices": 8, "idle": 10, "peak": 10, "above idle": 12, "a slice": 10, "time": 9}
    print("".join(f"{title:>{width}}" for title, width in titles.items()))
    models = _models(scratch / "model")
    first = None
    for count in sizes:
        used = measure_memory(count, scratch, lambda *folders: _server(folders[0], models, folders[1], scored_images=0))
        first = first or used
        grown = f"{used.megabytes_a_slice(first):.2f} MB" if used.slices > first.slices else "-"
        values = [str(count), *(f"{one / MEGABYTE:.0f} MB" for one in (used.idle, used.peak, used.above_idle)), grown]
        values.append(f"{used.seconds:.0f} s")
        print("".join(f"{value:>{width}}" for value, width in zip(values, titles.values(), strict=True)), flush=True)


def _print_busy(scratch: Path) -> None:
    """Print the time of an inference alone and during a training in the same server, on labelled phantoms."""
    folder = scratch / "busy"
    series = write_demo_studies(folder / "studies", truth=folder / "truth")
    labelled = [one for one in series if one.patient_id in _LABELLED]
    with _server(folder / "studies", _models(folder / "model"), folder / "workspace", scored_images=0) as server:
        busy = measure_busy(server, labelled)
    print(
        f"One inference alone {statistics.median(busy.alone):.2f} s, during a training "
        f"{statistics.median(busy.during):.2f} s, ratio {busy.ratio:.2f} (medians of {len(busy.alone)}; the training "
        f"used {busy.cores:.2f} cores meanwhile and finished {busy.epochs} epochs; this machine has {os.cpu_count()} "
        f"cores and its load over the last minute is {os.getloadavg()[0]:.1f})"
    )


def _print_clicks(scratch: Path) -> None:
    """Print the time from a click to its outline."""
    lesions = write_lesions(scratch / "click-studies")
    models = scratch / "click-models"
    _copy_weights(models / SHIPPED_FILES[CLICKS], lambda: ClickModel.from_info(load_info()).network())
    with _server(scratch / "click-studies", models, scratch / "click-workspace", scored_images=0) as server:
        times = measure_clicks(server.url, lesions)
    print(
        f"A click, request to outline     median {times.median:.3f} s, 95th percentile {times.percentile_95:.3f} s, "
        f"first click on a scan {times.first:.3f} s ({times.count} clicks)"
    )


def _print_browser(studies: Path | None, json_file: Path | None, scratch: Path) -> None:
    """Print what a reader waits for in OHIF, on the first scan of a folder and on a long one."""
    from tools.benchmark.browser import measure as measure_browser  # Playwright is not needed by the app itself

    if studies is None:
        studies = scratch / "browser-studies"
        write_demo_studies(studies)
    write_long_scan(scratch / "long-studies", _LONG)
    models = _models(scratch / "model")
    with _server(studies, models, scratch / "browser-workspace", scored_images=0) as server:
        series = wait_for_images(server.url)[0]
        waited = measure_browser(server.url, series)
    with _server(scratch / "long-studies", models, scratch / "long-workspace", scored_images=0) as server:
        long = measure_browser(server.url, wait_for_images(server.url)[0], rounds=1)
    print(f"In Chromium with software rendering: series {series} of {studies}; {_LONG} generated slices of 512x512")
    print("(seconds: median, longest; number of measurements)")
    for name in waited.seconds:
        columns = [f"{one.seconds[name]:8.3f} {one.longest[name]:8.3f} {one.counts[name]:4}" for one in (waited, long)]
        print(f"  {name:26}{'    '.join(columns)}")
    load = os.getloadavg()[0]
    print(f"  ({os.cpu_count()} cores, load over the last minute {load:.1f})")
    if json_file:
        content = {"folder": asdict(waited), f"{_LONG} slices": asdict(long), "cores": os.cpu_count(), "load": load}
        json_file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _print_inference(scan: Path, models: Path) -> None:
    """Print the durations of the steps of an inference on a large scan, with reference values."""
    info = load_info()
    cost = inference_cost(scan, info, ModelStore(models))
    size = "×".join(str(length) for length in VoxelGrid.from_file(scan).size)
    print(
        f"One inference of {size} voxels, {cost.seen_slices:.0f} slices through the network, {cost.findings} findings:"
    )
    for part, seconds in _parts(cost).items():
        print(f"  {part:30}{seconds:8.2f} s, {seconds / cost.network:5.2f} of the network alone")
    print(
        f"  forward pass {cost.network_flops / 1e9:20.0f} GFLOP/s, matrix product {cost.peak_flops / 1e9:.0f} GFLOP/s, "
        f"ratio {cost.network_flops / cost.peak_flops:.2f}"
    )
    whole = crf_slice_by_slice_seconds(scan, info)
    beside = f"in boxes {whole / cost.crf:.0f} times faster" if cost.findings else "no finding to compare with"
    print(f"  CRF slice by slice            {whole:8.0f} s (from 5 slices), {beside}")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(f"  training                      {training_slices_per_second(info, device):8.1f} slices per second")


def _parts(cost: InferenceCost) -> dict[str, float]:
    """Return the printed parts of an inference in order, then the sums."""
    return {
        "reading the volume": cost.reading,
        "pre-processing": cost.preprocessing,
        "network alone": cost.network,
        "slices in, logits out": cost.feeding,
        "post-processing": cost.postprocessing,
        "CRF": cost.crf,
        "writing": cost.writing,
        "total": cost.total,
        "total without CRF (default)": cost.total - cost.crf,
    }


def _models(directory: Path) -> Path:
    """Return a folder with the shipped weights, or with untrained ones, which are equally fast, if none are shipped."""
    _copy_weights(directory / "pretrained_lung_tumor.pt", lambda: AttentionResidualUNet(**load_info()["network"]))
    return directory


def _copy_weights(path: Path, network: Callable[[], torch.nn.Module]) -> None:
    """Copy the shipped weights of the same name to ``path``, or write untrained ones."""
    path.parent.mkdir()
    if (shipped := APP_DIR / "model" / path.name).exists():
        shutil.copyfile(shipped, path)
    else:
        torch.save({"model": network().state_dict()}, path)


def _server(
    studies: Path, models: Path, workspace: Path, **conf: object
) -> contextlib.AbstractContextManager[ServerProcess]:
    return monailabel_server(
        studies.resolve(), workspace.with_name("server"), workspace=workspace, model_dir=models, **conf
    )
