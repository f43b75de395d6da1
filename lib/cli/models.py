"""``python main.py models``: the versions of the model, and which one serves."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from lib.errors import UserError
from lib.publishing import ModelStore
from lib.publishing.model_store import PRETRAINED
from lib.settings import APP_DIR


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--model-dir", type=Path, default=APP_DIR / "model", help="as --conf model_dir of the server")
    parser.add_argument("--serve", metavar="VERSION", help="let this version serve from now on (roll back)")


def run(args: argparse.Namespace) -> int:
    """List the versions, or let another one serve."""
    store = ModelStore(args.model_dir)
    if args.serve:
        try:
            store.serve(args.serve)
        except LookupError as error:
            raise UserError(str(error)) from error
    serving = store.serving_version()
    print(f"{'':2}{'version':<22}{'trained':<18}{'labels':>7}  {'Dice':>6}  {'FP/scan':>7}  what became of it")
    if store.weights(PRETRAINED).exists():
        print(f"{_mark(PRETRAINED, serving)}{PRETRAINED:<22}{'shipped':<18}")
    for manifest in store.manifests():
        verdict = manifest.get("verdict") or {}
        scores = verdict.get("candidate") or {}
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(manifest["time"]))
        dice = f"{scores['dice']:.3f}" if scores else "-"
        false_positives = f"{scores['false_positives']:.1f}" if scores else "-"
        reason = verdict.get("reason") or f"uploaded by {manifest.get('uploaded_by', 'a user')}"
        print(
            f"{_mark(manifest['version'], serving)}{manifest['version']:<22}{when:<18}"
            f"{len(manifest.get('labels', {})):>7}  {dice:>6}  {false_positives:>7}  {reason}"
        )
    return 0


def _mark(version: str, serving: str | None) -> str:
    return "* " if version == serving else "  "
