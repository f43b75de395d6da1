"""Integrity check of everything the app stored: labels, DICOM objects, model versions, state files."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from lib.datastore.label_store import LabelStore
from lib.dicomweb.stored_objects import StoredObjects
from lib.errors import UserError
from lib.inference.candidate_judge import CLASSIFIER_FILE, CandidateJudge
from lib.publishing.stores import model_stores
from lib.reading.preference_answers import damaged_answers
from lib.settings import Settings
from lib.storage.integrity import Damage
from lib.storage.state_file import StateFile


def find_damage(settings: Settings) -> list[Damage]:
    """Compare everything in a workspace, former label versions included, with its checksums, without writing."""
    found = [damage for store in model_stores(settings).values() for damage in store.damage()]
    if settings.labels_dir.is_dir():
        found += LabelStore(settings.labels_dir).damage()
    elif settings.labels_dir.exists():
        found.append(Damage("state", settings.labels_dir, f"{settings.labels_dir} is not a folder. Move it away."))
    found += StoredObjects(settings.segs_dir).damage()
    found += damaged_answers(settings.workspace)
    found += _find_classifier_damage(settings.model_dir / CLASSIFIER_FILE)
    return [*found, *_find_state_damage(settings)]


def _find_classifier_damage(path: Path) -> Iterator[Damage]:
    if not path.exists():
        return
    try:
        CandidateJudge.from_file(path)
    except UserError as error:
        yield Damage("classifier of findings", path, str(error))


def _find_state_damage(settings: Settings) -> Iterator[Damage]:
    notes = sorted((settings.workspace / "image_info").glob("*.json"))
    single = [settings.workspace / f"{name}.json" for name in ("training", "folds", "skipped")]
    stores = model_stores(settings).values()
    of_models = (store.folder / name for store in stores for name in ("train_stats.json", "folds.json"))
    for path in (*notes, *single, *of_models):
        if damage := StateFile(path, dict, "The app works without it.").damage():
            yield damage
    if problem := _check_index(settings.cache_dir / "index.sqlite"):
        path = settings.cache_dir / "index.sqlite"
        yield Damage("state", path, f"The index {path} is damaged ({problem}). The server rebuilds it when it starts.")


def _check_index(path: Path) -> str | None:
    if not path.exists():
        return None
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=10)) as connection:
            (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        return str(error)
    return None if answer == "ok" else str(answer)
