"""Copy of the weights in use, so that one version makes all masks of a run even if another is published meanwhile."""

from __future__ import annotations

import shutil
from pathlib import Path

from lib.publishing import ModelStore
from lib.publishing.model_store import PRETRAINED, PRETRAINED_FILE
from lib.publishing.version_files import WEIGHTS_FILE
from lib.storage.atomic import write_atomically


def pin(store: ModelStore, work: Path) -> dict[str, str]:
    """Copy the weights in use into the workspace of a run, and print their version.

    Args:
        store: Versions of the model.
        work: Workspace of the run.

    Returns:
        Values for ``--conf``: ``workspace`` and ``model_dir``.

    Raises:
        UserError: There are no weights in use.
    """
    serving, content = store.read_serving()
    if serving.problem:
        print(serving.problem)
    print(f"Model version {serving.version}, {serving.path}", flush=True)
    copy = work / "model" / (PRETRAINED_FILE if serving.version == PRETRAINED else WEIGHTS_FILE)
    write_atomically(copy, lambda part: part.write_bytes(content))
    if serving.version != PRETRAINED:
        origin = next(one for one in store.manifests() if one["version"] == serving.version)
        run = ModelStore(work / "models")
        run.adopt(copy.parent, origin)
        run.serve(str(serving.version), why="pinned")
    return {"workspace": str(work), "model_dir": str(work / "model")}


def share_pinned(pinned: Path, work: Path) -> dict[str, str]:
    """Give a worker the weights that `pin` copied.

    Args:
        pinned: Workspace of the run.
        work: New workspace of the worker.

    Returns:
        Values for ``--conf``: ``workspace`` and ``model_dir``.
    """
    if (pinned / "models").is_dir():
        shutil.copytree(pinned / "models", work / "models", dirs_exist_ok=True)
    return {"workspace": str(work), "model_dir": str(pinned / "model")}
