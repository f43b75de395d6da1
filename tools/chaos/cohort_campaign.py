"""Campaign that kills workers and the command of a cohort run, and compares its results with an undisturbed run."""

from __future__ import annotations

import gzip
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from lib.phantoms import Acquisition, write_dicom_series
from lib.settings import APP_DIR
from lib.storage.atomic import write_json
from tools.support.processes import kill_tree

_GRID = Acquisition(shape=(6, 16, 20), spacing=(2.5, 1, 1))
_FORMATS = ("nifti", "csv", "json")  # their content depends on the images alone
_SHARE_OF_COMMAND = 0.3
_MOST_STARTS_AFTER = 5  # of the command, after the last kill
_POLL_SECONDS = 0.05


class CohortCampaign:
    """A run of ``infer --workers 2`` that is killed and started again until it succeeds.

    Args:
        folder: Folder for all files; ``summary.json`` is the result.
        series: Number of series, phantoms.
        kills: Number of kills.
        seed: Random seed of moments and victims.
        report: Called with a sentence after each kill.
    """

    def __init__(self, folder: Path, series: int, kills: int, seed: int, report: Callable[[str], None]) -> None:
        self._folder = folder
        self._series = series
        self._seed = seed
        self._report = report
        self._rng = np.random.default_rng(seed)
        moments = self._rng.integers(0, max(1, series - 2), size=kills)
        self._moments = sorted(int(moment) for moment in moments)
        self._victims: Counter[str] = Counter()
        self._starts = 0

    def run(self) -> dict[str, Any]:
        """Run until all series are done, beside a run that nobody disturbs, compare, and return the summary."""
        begun = time.monotonic()
        for number in range(self._series):
            hu = np.full(_GRID.shape, -1000 + number, np.int16)
            write_dicom_series(self._folder / "dicom" / f"P{number:04}", hu, _GRID.affine, patient_id=f"P{number:04}")
        with self._command("undisturbed") as undisturbed:
            try:
                failed = not self._disturbed_runs() or undisturbed.wait() != 0
            finally:
                kill_tree(undisturbed)
        problems = ["the command failed; see its log"] if failed else [*self._problems()]
        summary = {
            "seed": self._seed,
            "series": self._series,
            "kills_by_victim": self._victims,
            "starts": self._starts,
            "violations": problems,
            "seconds": round(time.monotonic() - begun),
        }
        write_json(self._folder / "summary.json", summary)
        return summary

    def _command(self, name: str, *options: str) -> subprocess.Popen:
        where = [str(self._folder / "dicom"), "--output", str(self._folder / name), "--format", *_FORMATS, *options]
        with (self._folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, str(APP_DIR / "main.py"), "infer", *where],
                cwd=APP_DIR,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _disturbed_runs(self) -> bool:
        """Start the command again until it succeeds; return whether it did."""
        after = 0
        while self._disturbed_run() != 0:
            after += not self._moments
            if after > _MOST_STARTS_AFTER:
                return False
        return True

    def _disturbed_run(self) -> int:
        """Run the command until it ends or is killed, and return its status."""
        self._starts += 1
        with self._command("killed", "--workers", "2") as process:
            try:
                while process.poll() is None:
                    if self._moments and self._finished() >= self._moments[0]:
                        self._kill(process)
                    time.sleep(_POLL_SECONDS)
                return process.returncode
            finally:
                kill_tree(process)

    def _kill(self, process: subprocess.Popen) -> None:
        """Kill the command with its scheduler, or a worker, if there is one already."""
        if self._rng.random() < _SHARE_OF_COMMAND:
            victim, name = psutil.Process(process.pid), "command"
        else:
            workers = [
                child for child in psutil.Process(process.pid).children() if "spawn_main" in str(child.cmdline())
            ]
            if not workers:
                return
            victim, name = workers[int(self._rng.integers(len(workers)))], "worker"
        victim.send_signal(signal.SIGKILL)
        self._moments.pop(0)
        self._victims[name] += 1
        self._report(f"{name} killed with {self._finished()} of {self._series} series done")
        time.sleep(self._rng.uniform(0, 2))

    def _finished(self) -> int:
        return sum(1 for path in (self._folder / "killed").glob("[0-9]*.json"))

    def _problems(self) -> Iterator[str]:
        mine, theirs = (
            {path.name: path for path in (self._folder / name).iterdir()} for name in ("undisturbed", "killed")
        )
        for name in sorted(mine.keys() ^ theirs.keys()):
            yield f"{name} is {'missing' if name in mine else 'too much'}"
        for name in sorted(mine.keys() & theirs.keys()):
            if _content(mine[name]) != _content(theirs[name]):
                yield f"{name} differs"


def _content(path: Path) -> bytes:
    """Return the content, without the time in the header of gzip."""
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
