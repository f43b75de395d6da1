"""What readers answered in preference studies, in an append-only file for each study."""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from lib.storage.atomic import write_atomically
from lib.storage.integrity import Damage
from lib.storage.json_lines import JsonLines

Choice = Literal["first", "second", "equal"]
FOLDER = "preferences"  # in the workspace
_SUFFIX = ".jsonl"
_SECRET_SUFFIX = ".secret"
_SECRET = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True)
class Answer:
    """What a reader answered about two outlines.

    Attributes:
        study: Name of the study.
        reader: User name.
        case: SeriesInstanceUID.
        patient: Pseudonym of the patient.
        lesion: Number of the lesion in the case, from 1; 0 for the whole case.
        first: Whose outline is the first of the study file: a version of the model, or ``label``.
        second: Whose is the second.
        shown_as_a: Which of the two the reader saw as A.
        choice: The better one.
        labels: Numbers of the two labels that were shown.
        volume_mm3: Mean volume of the lesion in the two, or of all lesions.
        active_seconds: Time without pauses since the case was opened or the former answer; None if it is not known.
        time: Seconds since 1970.
    """

    study: str
    reader: str
    case: str
    patient: str
    lesion: int
    first: str
    second: str
    shown_as_a: Literal["first", "second"]
    choice: Choice
    labels: tuple[int, int]
    volume_mm3: float
    active_seconds: float | None
    time: float


class Answers:
    """Answers of the readers of one study.

    Args:
        workspace: Folder of the workspace.
        study: Name of the study.
    """

    def __init__(self, workspace: Path, study: str) -> None:
        name = hashlib.sha256(study.encode()).hexdigest()[:16]
        self._file = JsonLines(workspace / FOLDER / f"{name}{_SUFFIX}", _checked)
        self._secret = (workspace / FOLDER / name).with_suffix(_SECRET_SUFFIX)
        self._lock = threading.Lock()
        self._known: tuple[tuple[int, int], list[Answer]] | None = None  # with size and time of the file

    @cached_property
    def secret(self) -> str:
        """What decides, besides the seed, which outline is A: readers could guess the seed, and compute that."""
        with self._lock:
            if not self._secret.exists():
                write_atomically(self._secret, lambda part: part.write_text(secrets.token_hex(16), encoding="utf-8"))
            return self._secret.read_text(encoding="utf-8")

    def add(self, answer: Answer) -> None:
        """Store an answer; a former one about the same stays in the file."""
        with self._lock:
            self._file.append(asdict(answer))

    def latest(self) -> list[Answer]:
        """Return the latest answer of each reader to each question."""
        try:
            status = self._file.path.stat()
        except FileNotFoundError:
            return []
        state = status.st_size, status.st_mtime_ns
        known = self._known
        if known is None or known[0] != state:
            known = self._known = state, latest_answers(self._file.entries())
        return known[1]


def answer_files(workspace: Path) -> list[Path]:
    """Return the files with the answers of all preference studies of a workspace."""
    folder = workspace / FOLDER
    return sorted(folder.glob(f"*{_SUFFIX}")) if folder.is_dir() else []


def answers_in(path: Path) -> list[Answer]:
    """Return the latest answers in a file."""
    return latest_answers(JsonLines(path, _checked).entries())


def damaged_answers(workspace: Path) -> list[Damage]:
    """Return the damage to the files with answers, and to those that decide which outline is A."""
    problems = [(path, JsonLines(path, _checked).problem()) for path in answer_files(workspace)]
    damaged = [
        Damage("state", path, f"{path} is damaged ({problem}). Its readable answers are used.")
        for path, problem in problems
        if problem
    ]
    files = sorted((workspace / FOLDER).glob(f"*{_SECRET_SUFFIX}"))
    changed = "is damaged. Restore it from a backup: it decides which outline a reader sees as A."
    return [*damaged, *(Damage("state", path, f"{path} {changed}") for path in files if not _is_secret(path))]


def _is_secret(path: Path) -> bool:
    try:
        return _SECRET.fullmatch(path.read_text(encoding="utf-8")) is not None
    except (OSError, ValueError):
        return False


def latest_answers(entries: Sequence[dict[str, Any]]) -> list[Answer]:
    """Return the last answer of each reader to each question, in the order of the questions' first answers."""
    found: dict[tuple[str, str, int], Answer] = {}
    for entry in entries:
        answer = Answer(**{**entry, "labels": tuple(entry["labels"])})
        found[answer.reader, answer.case, answer.lesion] = answer
    return [*found.values()]


def _checked(entry: Any) -> dict[str, Any]:
    one = Answer(**entry)
    if one.choice not in get_args(Choice) or one.shown_as_a not in ("first", "second") or len(one.labels) != 2:
        raise ValueError("it is no answer")
    if not all(isinstance(value, str) for value in (one.study, one.reader, one.case, one.patient)):
        raise ValueError("it names no case")
    return dict(entry)
