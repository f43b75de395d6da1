"""Record of the running training on disk, to detect an interruption after a crash."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lib.errors import UserError
from lib.storage.atomic import make_folder
from lib.storage.state_file import StateFile

RUN_NAME = "%Y%m%d-%H%M%S-%f"  # time of its start
INTERRUPTIONS = "interruptions"  # in the request of a training that is restarted


@dataclass(frozen=True)
class Run:
    """A training that has not ended.

    Attributes:
        name: Name of the run, also in the manifest of its version.
        folder: Folder of its temporary files.
        request: Request that started it.
        interruptions: Number of interruptions so far.
    """

    name: str
    folder: str
    request: dict[str, Any]
    interruptions: int = 0


class UnfinishedRun:
    """Record of the running training, one per workspace.

    A damaged record is moved aside: its training is not restarted, and does not block the next one.

    The training process holds a lock, which the operating system releases however the process ends. A record without
    a lock holder is an interrupted training.

    Args:
        path: Path of the record; the lock file is in the same folder.
    """

    def __init__(self, path: Path) -> None:
        self._file = StateFile(
            path, _run, "An interrupted training is not restarted automatically: start a training manually."
        )
        self._lock = FileLock(path.with_suffix(".lock"))

    @contextmanager
    def new_run(self, runs: Path, request: dict[str, Any]) -> Iterator[Run]:
        """Record a new run with a name of its own within the context; see `recorded`.

        Args:
            runs: Folder of the runs of the model; what killed runs left there is removed.
            request: Request that started it.
        """
        name = datetime.now().strftime(RUN_NAME)
        run = Run(name, str(runs / name), request, request.get(INTERRUPTIONS, 0))
        with self.recorded(run):
            shutil.rmtree(runs, ignore_errors=True)
            yield run

    @contextmanager
    def recorded(self, run: Run) -> Iterator[None]:
        """Keep a record within the context; at its end, even after an error, remove it and the folder of the run.

        Raises:
            UserError: Another training of this workspace is running, possibly started by another server.
        """
        make_folder(self._file.path.parent)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UserError("A training of this workspace is already running; wait until it ends.") from None
        try:
            self._clear()  # record of a killed process
            self._write(run)
            yield
        finally:
            self._clear()
            self._lock.release()

    def interrupted(self) -> Run | None:
        """Return the interrupted training; None if there is none, or if it is still running."""
        if not self._file.path.exists() and not self._file.damage():
            return None
        try:
            with self._lock.acquire(timeout=0):
                self._file.move_damaged_aside()
                return self._file.read()
        except Timeout:
            return None

    def start_again(self, run: Run) -> Run:
        """Increment the interruptions of ``run`` and remove its files; the record is kept until the training starts."""
        shutil.rmtree(run.folder, ignore_errors=True)
        again = replace(run, interruptions=run.interruptions + 1)
        self._write(again)
        return again

    def give_up(self, run: Run) -> None:
        """Remove the record of ``run`` after a failure in another process of it than the one that holds the lock.

        Without a lock holder, the training was interrupted, which is why this process failed: the record remains.
        """
        try:
            with self._lock.acquire(timeout=0):
                return
        except Timeout:
            if (recorded := self._file.read()) and recorded.name == run.name:
                self._file.path.unlink(missing_ok=True)

    def drop(self, run: Run) -> None:
        """Remove the files of ``run`` and its record."""
        shutil.rmtree(run.folder, ignore_errors=True)
        self._file.path.unlink(missing_ok=True)

    def _clear(self) -> None:
        self._file.move_damaged_aside()
        if run := self._file.read():
            self.drop(run)

    def _write(self, run: Run) -> None:
        self._file.write(asdict(run))


def _run(content: Any) -> Run:
    """Parse and check the record."""
    run = Run(**content)
    if not isinstance(run.name, str) or not isinstance(run.folder, str) or not isinstance(run.request, dict):
        raise ValueError("name, folder or request is missing or of the wrong type")
    if not run.name or Path(run.folder).name != run.name:  # the folder will be deleted
        raise ValueError("its folder is not that of a training")
    if type(run.interruptions) is not int:
        raise ValueError(f"interruptions is {run.interruptions!r}")
    return run
