"""Installation of trained weights as the shipped ones: weights, checksum and manifest."""

from __future__ import annotations

import shutil
from functools import partial
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
    files = {run / WEIGHTS: target}
    if (run / CLASSIFIER_FILE).exists():
        files[run / CLASSIFIER_FILE] = model_dir / CLASSIFIER_FILE
    # All checksums first: where the rest is not written, no file has the checksum of the other version.
    for source, copy in files.items():
        checksum = f"{sha256_of(source)}  {copy.name}\n"
        write_atomically(copy.with_name(f"{copy.name}.sha256"), partial(_write_text, checksum))
    for source, copy in {run / FILE: target.with_suffix(".json"), **files}.items():
        write_atomically(copy, partial(shutil.copyfile, source))
    for path in (target.with_suffix(".json"), *model_dir.glob("*.pt*")):
        path.chmod(0o644)  # no patient data, and all users of the app need them
    return target


def _write_text(text: str, path: Path) -> None:
    path.write_text(text, encoding="ascii")
