"""A note on disk for as long as a training runs: after a crash, it tells what was interrupted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lib.atomic import write_json
from lib.errors import UserError


@dataclass(frozen=True)
class Run:
    """A training that began and has not ended.

    Attributes:
        name: Of the run; the manifest of the version that it makes names it too.
        folder: Its temporary files.
        request: What was asked for.
        interruptions: How often it was cut off and started again.
    """

    name: str
    folder: str
    request: dict[str, Any]
    interruptions: int = 0


class UnfinishedRun:
    """The note, one for each workspace.

    The process that trains holds a lock, which the system releases however that process ends. A note without
    a holder is an interrupted training.

    Args:
        path: Of the note; the lock lies beside it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = FileLock(path.with_suffix(".lock"))

    @contextmanager
    def noted(self, run: Run) -> Iterator[None]:
        """Keep the note while the block runs; at its end, be it good or bad, remove it and the run's folder.

        Raises:
            UserError: Another training of this workspace runs, of another server perhaps.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UserError("A training of this workspace runs already; wait for its end.") from None
        try:
            self._clear()  # of one that was killed in between
            self._write(run)
            yield
        finally:
            self._clear()
            self._lock.release()

    def interrupted(self) -> Run | None:
        """The training that was cut off; None if there is none, or it still runs."""
        if not self._path.exists():
            return None
        try:
            with self._lock.acquire(timeout=0):
                return self._read()
        except Timeout:
            return None

    def start_again(self, run: Run) -> Run:
        """Count one more interruption of ``run`` and remove its files. The note stays until the training starts."""
        shutil.rmtree(run.folder, ignore_errors=True)
        again = replace(run, interruptions=run.interruptions + 1)
        self._write(again)
        return again

    def drop(self, run: Run) -> None:
        """Remove the files of ``run`` and the note of it."""
        shutil.rmtree(run.folder, ignore_errors=True)
        self._path.unlink(missing_ok=True)

    def _clear(self) -> None:
        if run := self._read():
            self.drop(run)

    def _write(self, run: Run) -> None:
        write_json(self._path, asdict(run))

    def _read(self) -> Run | None:
        try:
            return Run(**json.loads(self._path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
