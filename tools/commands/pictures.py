"""``python main.py pictures``: take the pictures of the documentation again."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from lib.cli.arguments import add_studies
from lib.phantoms import write_demo_studies
from lib.settings import APP_DIR
from tools.benchmark.server import wait_for_images
from tools.pictures import status_page, viewer
from tools.support.app_server import monailabel_server
from tools.support.chromium import running_chromium

_LABELLED = ("LUNG-001", "LUNG-003", "LUNG-005", "LUNG-006")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_studies(parser, required=True, more="; its first scan is shown")
    parser.add_argument(
        "--only", choices=("viewer", "status"), help="take only those of the viewer, or of the status page"
    )
    parser.add_argument("--output", type=Path, default=Path("docs"), help="folder of the pictures (default docs)")


def run(args: argparse.Namespace) -> int:
    """Take the pictures; those of a former run are replaced."""
    models = APP_DIR / "model"
    with tempfile.TemporaryDirectory(prefix="lunglabel-pictures-") as name, running_chromium() as browser:
        scratch = Path(name)
        args.output.mkdir(parents=True, exist_ok=True)
        if args.only != "status":
            with monailabel_server(Path(args.studies).resolve(), scratch / "viewer", model_dir=models) as server:
                viewer.take(browser, server.url, wait_for_images(server.url)[0], args.output)
        if args.only == "viewer":
            return 0
        series = write_demo_studies(scratch / "phantoms", truth=scratch / "truth")
        with monailabel_server(scratch / "phantoms", scratch / "status", model_dir=models) as server:
            wait_for_images(server.url)
            status_page.take(browser, server.url, [one for one in series if one.patient_id in _LABELLED], args.output)
    return 0
