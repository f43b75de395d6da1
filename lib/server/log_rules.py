"""Log formatting and filtering: one line per message, masked patient ids, and a rate limit for repeated messages."""

from __future__ import annotations

import copy
import logging
import re
import threading
import time

from lib.server.upstream_patches import replace_log_formatters

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029]")
# Patient identifiers to mask: quoted values in lines about PatientIDs, and query parameters of DICOMweb searches.
_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""")
_SEARCHED = re.compile(r"((?:Patient\w+|0010[0-9A-Fa-f]{4})=)[^&\s]*")
_TASK = "task_"  # prefix of the loggers in which MONAI Label repeats the output of a training
_MAX_IN_WINDOW = 20
_WINDOW_SECONDS = 60


class OneLineFormatter(logging.Formatter):
    """Formatter that escapes control characters, so that no client can forge a log line, and indents tracebacks.

    PatientIDs and patient search terms are masked, because logs are sent to others for support.

    Args:
        inner: Formatter that adds time, level and so on.
    """

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record."""
        message = _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), record.getMessage())
        if record.name.startswith(_TASK):
            return _without_patients(message)
        safe = copy.copy(record)
        safe.msg, safe.args = message, None
        return "\n    ".join(_without_patients(line) for line in self._inner.format(safe).split("\n"))


def _without_patients(line: str) -> str:
    if "PatientID" in line:
        line = _QUOTED.sub("'…'", line)
    return _SEARCHED.sub(r"\1…", line)


class RateLimitFilter(logging.Filter):
    """Filter that passes the same message at most 20 times a minute, and reports how many it suppressed."""

    def __init__(self) -> None:
        super().__init__()
        self._since: dict[str, float] = {}
        self._count: dict[str, int] = {}
        self._lock = threading.RLock()  # reentrant: formatting a message may log

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is logged."""
        with self._lock:
            return self._admit(record)

    def _admit(self, record: logging.LogRecord) -> bool:
        key, now = str(record.msg)[:200], time.monotonic()
        if now - self._since.get(key, -_WINDOW_SECONDS) >= _WINDOW_SECONDS:
            left_out = self._count.get(key, 0) - _MAX_IN_WINDOW
            if len(self._since) > 1000:
                self._since.clear()
                self._count.clear()
            self._since[key], self._count[key] = now, 0
            if left_out > 0:
                record.msg, record.args = f"{record.getMessage()} (and {left_out} more like it before)", None
        self._count[key] += 1
        return self._count[key] <= _MAX_IN_WINDOW


def apply_log_rules() -> None:
    """Apply formatter and filter to all of MONAI Label's handlers, and keep only one handler for its log file."""
    replace_log_formatters(lambda inner: inner if isinstance(inner, OneLineFormatter) else OneLineFormatter(inner))
