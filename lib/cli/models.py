"""``python main.py models``: list the versions of a model, and select the one that serves."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from lib.cli.arguments import add_studies
from lib.cli.os_user import os_user
from lib.errors import UserError
from lib.publishing import ModelStore
from lib.publishing.adoption import adopt
from lib.publishing.manifest import outcome
from lib.publishing.model_store import PRETRAINED
from lib.publishing.stores import SEGMENTATION, SHIPPED_FILES, model_stores
from lib.reading.preference_results import known_results
from lib.settings import Settings

_NOTHING = "No usable version is left, so none serves."
_WHY = "chosen on the command line"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_studies(parser, required=False, more="; or --workspace")
    parser.add_argument("--workspace", help="folder of the workspace, as --conf workspace of the server")
    parser.add_argument("--model-dir", help="as --conf model_dir of the server: folder of the shipped weights")
    parser.add_argument(
        "--model",
        choices=[*SHIPPED_FILES],
        default=SEGMENTATION,
        help="the model: the automatic one (default), or the one that outlines what a user clicks at",
    )
    change = parser.add_mutually_exclusive_group()
    change.add_argument("--serve", metavar="VERSION", help="put this version into use")
    change.add_argument("--back", action="store_true", help="put the version that was used before into use again")
    change.add_argument(
        "--adopt",
        metavar="FOLDER",
        type=Path,
        help="copy the versions of an earlier release (its model/ folder) or of another workspace (its models/, "
        "or models/lung_tumor_click/ for that model)",
    )


def run(args: argparse.Namespace) -> int:
    """List the versions, after applying the requested change."""
    if not args.studies and not args.workspace:
        raise UserError("No workspace given: give STUDIES as for the server, or --workspace DIR.")
    given = {"workspace": args.workspace, "model_dir": args.model_dir}
    # With a workspace, the studies are irrelevant here.
    settings = Settings.from_conf(args.studies or "http://localhost", {name: at for name, at in given.items() if at})
    store = model_stores(settings)[args.model]
    if args.serve or args.back:
        _serve(store, args.serve)
    if args.adopt:
        _adopt(store, args.adopt)
    _list(store)
    for result in known_results(settings.workspace) if args.model == SEGMENTATION else ():
        print(result["sentence"])
    return 0


def _serve(store: ModelStore, version: str | None) -> None:
    version = version or store.previous_version()
    if version is None:
        raise UserError("No other version served before, so there is nothing to go back to.")
    try:
        store.serve(version, by=os_user(), why=_WHY)
    except LookupError as error:
        raise UserError(str(error)) from error


def _adopt(store: ModelStore, folder: Path) -> None:
    adoption = adopt(store, folder)
    print(f"{len(adoption.adopted)} version(s) copied from {folder}, {len(adoption.known)} were here before.")
    for reason in adoption.left_out:
        print(reason)
    if adoption.serving in adoption.adopted:
        print(f"Version {adoption.serving} was in use there. To use it here: --serve {adoption.serving}")


def _list(store: ModelStore) -> None:
    serving = store.serving()
    print(f"{'':2}{'version':<22}{'trained':<18}{'labels':>7}  {'Dice':>6}  {'FP/scan':>7}  outcome")
    if store.weights(PRETRAINED).exists():
        print(f"{_mark(PRETRAINED, serving.version)}{PRETRAINED:<22}{'shipped':<18}")
    for manifest in store.manifests():
        print(_mark(manifest["version"], serving.version) + _line(manifest))
    for one in store.damage():
        print(f"Damaged: {one.problem}")
    if serving.problem:
        print(f"Version {serving.version} serves, which is not the one chosen." if serving.version else _NOTHING)


def _line(manifest: dict[str, Any]) -> str:
    verdict = manifest.get("verdict") or {}
    scores = verdict.get("candidate") or {}
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(manifest["time"]))
    dice, false_positives = scores.get("dice"), _false_positives(scores)
    reason = verdict.get("reason") or f"uploaded by {manifest.get('uploaded_by', 'a user')}, {outcome(manifest)}"
    return (
        f"{manifest['version']:<22}{when:<18}{len(manifest.get('labels', {})):>7}  "
        f"{'-' if dice is None else f'{dice:.3f}':>6}  "
        f"{'-' if false_positives is None else f'{false_positives:.1f}':>7}  {reason}"
        f"{'' if manifest.get('sha256') else ' Not verified: it has no hash.'}"
    )


def _false_positives(scores: dict[str, Any]) -> float | None:
    """Return the false findings per scan; None for the model for clicks, which has none."""
    of_clicks = any("after_one" in one for one in scores.get("patients", {}).values())
    return None if of_clicks else scores.get("false_positives")


def _mark(version: str, serving: str | None) -> str:
    return "* " if version == serving else "  "
