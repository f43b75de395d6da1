"""Installation of trained weights as the shipped ones: weights, checksum and manifest."""

from __future__ import annotations

import shutil
from pathlib import Path

from lib.errors import UserError
from lib.publishing.version_files import PRETRAINED_FILE
from lib.storage.atomic import write_atomically
from lib.training.run_manifest import FILE, WEIGHTS, is_finished, manifest_of


def install(run: Path, model_dir: Path) -> Path:
    """Copy the weights of a finished run, their SHA-256 and their manifest into ``model_dir``; return the weights.

    Args:
        run: Folder of the run.
        model_dir: ``model/`` of the app.

    Raises:
        UserError: The run is not finished, or its weights are not those it wrote.
    """
    manifest = manifest_of(run / WEIGHTS)
    if manifest is None or not is_finished(run, manifest):
        raise UserError(f"{run} has no finished run; its weights are not installed.")
    target = model_dir / PRETRAINED_FILE
    checksum = f"{manifest['sha256']}  {target.name}\n"
    write_atomically(target.with_suffix(".json"), lambda path: shutil.copyfile(run / FILE, path))
    write_atomically(
        target.with_name(f"{target.name}.sha256"), lambda path: path.write_text(checksum, encoding="ascii")
    )
    write_atomically(target, lambda path: shutil.copyfile(run / WEIGHTS, path))
    for path in model_dir.glob(f"{target.stem}.*"):
        path.chmod(0o644)  # no patient data, and all users of the app need them
    return target
