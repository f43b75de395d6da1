"""A note on disk for as long as a training runs: after a crash, it tells what was interrupted."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lib.errors import UserError
from lib.storage.atomic import make_folder
from lib.storage.state_file import StateFile


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

    A note that cannot be read is moved aside: what it told of is not started again, and the next training starts.

    The process that trains holds a lock, which the system releases however that process ends. A note without
    a holder is an interrupted training.

    Args:
        path: Of the note; the lock lies beside it.
    """

    def __init__(self, path: Path) -> None:
        self._file = StateFile(
            path, _run, "A training that was interrupted is not started again by itself: train by hand."
        )
        self._lock = FileLock(path.with_suffix(".lock"))

    @contextmanager
    def noted(self, run: Run) -> Iterator[None]:
        """Keep the note while the block runs; at its end, be it good or bad, remove it and the run's folder.

        Raises:
            UserError: Another training of this workspace runs, of another server perhaps.
        """
        make_folder(self._file.path.parent)
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
        if not self._file.path.exists() and not self._file.damage():
            return None
        try:
            with self._lock.acquire(timeout=0):
                self._file.move_damaged_aside()
                return self._file.read()
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
        self._file.path.unlink(missing_ok=True)

    def _clear(self) -> None:
        self._file.move_damaged_aside()
        if run := self._file.read():
            self.drop(run)

    def _write(self, run: Run) -> None:
        self._file.write(asdict(run))


def _run(content: Any) -> Run:
    """Check what the note says."""
    run = Run(**content)
    if not isinstance(run.name, str) or not isinstance(run.folder, str) or not isinstance(run.request, dict):
        raise ValueError("it names no training")
    if not run.name or Path(run.folder).name != run.name:  # it is removed with all that is in it
        raise ValueError("its folder is none of a training")
    if type(run.interruptions) is not int:
        raise ValueError(f"interruptions is {run.interruptions!r}")
    return run
