"""Installation of trained weights as the shipped ones: weights, checksum and manifest."""

from __future__ import annotations

import shutil
from pathlib import Path

from lib.errors import UserError
from lib.inference.candidate_judge import CLASSIFIER_FILE
from lib.storage.atomic import write_atomically
from lib.storage.integrity import sha256_of
from lib.training.run_manifest import FILE, WEIGHTS, is_finished, manifest_of


def install(run: Path, model_dir: Path, file_name: str) -> Path:
    """Copy the weights of a finished run and its classifier with their SHA-256, and the manifest, into ``model_dir``.

    Args:
        run: Folder of the run.
        model_dir: ``model/`` of the app.
        file_name: Name of the shipped weights.

    Returns:
        The path of the weights.

    Raises:
        UserError: The run is not finished, or its weights are not those it wrote.
    """
    manifest = manifest_of(run / WEIGHTS)
    if manifest is None or not is_finished(run, manifest):
        raise UserError(f"{run} has no finished run; its weights are not installed.")
    target = model_dir / file_name
    write_atomically(target.with_suffix(".json"), lambda path: shutil.copyfile(run / FILE, path))
    _copy(run / WEIGHTS, target)
    if (run / CLASSIFIER_FILE).exists():
        _copy(run / CLASSIFIER_FILE, model_dir / CLASSIFIER_FILE)
    for path in (target.with_suffix(".json"), *model_dir.glob("*.pt*")):
        path.chmod(0o644)  # no patient data, and all users of the app need them
    return target


def _copy(source: Path, target: Path) -> None:
    """Copy a file, after the file ``<name>.sha256`` beside the copy."""
    checksum = f"{sha256_of(source)}  {target.name}\n"
    write_atomically(
        target.with_name(f"{target.name}.sha256"), lambda path: path.write_text(checksum, encoding="ascii")
    )
    write_atomically(target, lambda path: shutil.copyfile(source, path))
