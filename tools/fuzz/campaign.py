"""Frame of the fuzzing campaigns: numbered cases against the real server, failures and the summary."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from lib.storage.atomic import write_json
from tools.fuzz.exchange import Answer, Exchange, send
from tools.support.processes import ServerProcess
from tools.support.sandbox import Sandbox

ANSWER_SECONDS = 30


class Campaign(ABC):
    """Cases by number; a number determines its case, and the kinds alternate.

    Args:
        folder: Folder for all files; ``summary.json`` and ``failures.json`` are the result.
        cases: Numbers of the cases.
        report: Called with a sentence after each failure and every batch of cases.
    """

    kinds: ClassVar[Sequence[str]]
    batch: ClassVar[int]

    def __init__(self, folder: Path, cases: Iterable[int], report: Callable[[str], None]) -> None:
        self._sandbox = Sandbox.build(folder)
        self._cases = list(cases)
        self._report = report
        self._failures: list[dict[str, Any]] = []
        self._statuses: Counter[int] = Counter()
        self._done: Counter[str] = Counter()
        self._slowest = 0.0
        self._starts = 0
        self._begun = time.monotonic()
        self._server: ServerProcess

    def run(self) -> dict[str, Any]:
        """Run all cases, restarting the server whenever it ends; return the summary."""
        waiting = [self._cases[start : start + self.batch] for start in range(0, len(self._cases), self.batch)]
        while waiting:
            with self._started() as self._server:
                self._starts += 1
                self._prepare()
                while waiting and self._is_running():
                    cases = waiting.pop(0)
                    self._try(cases)
                    self._done.update(self.kind_of(case) for case in cases)
                    self._report(f"{self._done.total()} of {len(self._cases)} cases, {len(self._failures)} failures")
                    self._write_summary()
        return self._write_summary()

    def kind_of(self, case: int) -> str:
        """Return the kind of a case."""
        return self.kinds[case % len(self.kinds)]

    @abstractmethod
    def _started(self) -> contextlib.AbstractContextManager[ServerProcess]:
        """Start the server."""

    def _prepare(self) -> None:  # noqa: B027
        """Learn from a server that has just started what the cases need; by default nothing."""

    @abstractmethod
    def _try(self, cases: Sequence[int]) -> None:
        """Run a batch of cases."""

    def _more(self) -> dict[str, Any]:
        """Return what else belongs to the summary."""
        return {}

    def _is_running(self) -> bool:
        return self._server.process.poll() is None

    def _ask(self, exchange: Exchange) -> Answer:
        answer = send(self._server.url, exchange, ANSWER_SECONDS)
        self._statuses[answer.status] += 1
        self._slowest = max(self._slowest, answer.seconds)
        return answer

    def _fail(self, case: int, problem: str) -> None:
        self._failures.append({"case": case, "kind": self.kind_of(case), "problem": problem.strip()})
        self._report(f"FAILURE case {case} ({self.kind_of(case)}): {problem.strip()[:500]}")

    def _write_summary(self) -> dict[str, Any]:
        summary = {
            "cases": self._done.total(),
            "cases_by_kind": dict(self._done),
            "answers": self._statuses.total(),
            "answers_by_status": {str(status): count for status, count in sorted(self._statuses.items())},
            "failures": len(self._failures),
            "slowest_answer_seconds": round(self._slowest, 1),
            **self._more(),
            "server_starts": self._starts,
            "seconds": round(time.monotonic() - self._begun),
            "machine": f"{platform.system()}, {os.cpu_count()} CPU cores, Python {platform.python_version()}",
        }
        write_json(self._sandbox.folder / "summary.json", summary)
        write_json(self._sandbox.folder / "failures.json", self._failures)
        return summary
