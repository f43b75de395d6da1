"""Integrity check of everything the app stored: labels, DICOM objects, model versions, state files."""

from __future__ import annotations

import contextlib
import logging
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lib.datastore.label_store import LabelStore
from lib.dicomweb.stored_objects import StoredObjects
from lib.processes.priority import work_in_background
from lib.publishing import ModelStore
from lib.publishing.model_store import PRETRAINED_FILE
from lib.settings import Settings
from lib.storage.integrity import Damage
from lib.storage.state_file import StateFile

logger = logging.getLogger(__name__)


class Remembered:
    """An answer that is made anew only after a while, the longer it takes to make the later.

    It is made in a thread of low priority. Hashing all of a large workspace for the first time takes minutes, and
    every open panel asks every few seconds: those requests would fill the server's threads.

    Args:
        make: Makes it.
        seconds: For so long it counts, at least.
        patience: Seconds that are waited for a new answer, or the first one, before the former one is given.
    """

    def __init__(self, make: Callable[[], list[Damage]], seconds: float = 5.0, patience: float = 2.0) -> None:
        self._make = make
        self._seconds = seconds
        self._patience = patience
        self._making = threading.Lock()
        self._first = threading.Event()
        self._answer: list[Damage] = []
        self._until = -math.inf

    def __call__(self) -> list[Damage]:
        """The answer as it was a few seconds ago, or now; empty as long as the first one is not known yet."""
        (self.renew() or self._first).wait(self._patience)
        return self._answer

    def renew(self) -> threading.Event | None:
        """Begin to make the answer anew where it is time for it; return what is set at its end, None otherwise."""
        if time.monotonic() < self._until or not self._making.acquire(blocking=False):
            return None
        done = threading.Event()
        threading.Thread(target=self._renew, args=(done,), name="verification", daemon=True).start()
        return done

    def _renew(self, done: threading.Event) -> None:
        begun = time.monotonic()
        try:
            work_in_background()
            self._answer = self._make()
        except Exception:  # the former answer stays; the status page shows what is logged
            logger.exception("What is stored could not be compared with its checksums")
        finally:
            now = time.monotonic()
            self._until = now + max(self._seconds, 20 * (now - begun))
            self._making.release()
            self._first.set()
            done.set()


def find_damage(settings: Settings) -> list[Damage]:
    """Compare everything in a workspace, former label versions included, with its checksums, without writing."""
    found = ModelStore(settings.models_dir, settings.model_dir / PRETRAINED_FILE).damage()
    if settings.labels_dir.is_dir():
        found += LabelStore(settings.labels_dir).damage()
    elif settings.labels_dir.exists():
        found.append(Damage("state", settings.labels_dir, f"{settings.labels_dir} is not a folder. Move it away."))
    found += StoredObjects(settings.segs_dir).damage()
    return [*found, *_find_state_damage(settings)]


def _find_state_damage(settings: Settings) -> Iterator[Damage]:
    notes = sorted((settings.workspace / "image_info").glob("*.json"))
    single = (settings.workspace / "training.json", settings.workspace / "hold_out.json")
    for path in (*notes, *single, settings.models_dir / "train_stats.json"):
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
