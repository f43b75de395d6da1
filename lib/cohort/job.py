"""What is sent to a worker, and what it sends back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.exports.formats import ExportFormat


@dataclass(frozen=True)
class Outcome:
    """What became of one series.

    Attributes:
        uid: SeriesInstanceUID.
        record: Content of its record; None if it failed.
        reason: Why it failed; None if it did not.
        finished_before: Whether an earlier run made its results.
    """

    uid: str
    record: dict[str, Any] | None = None
    reason: str | None = None
    finished_before: bool = False


@dataclass(frozen=True)
class Job:
    """What a worker needs to know once for all series.

    Attributes:
        key: Identifier of the run.
        studies: DICOM folder or DICOMweb URL without user and password, the same for all workers.
        conf: The settings of the run, except the folders of the model.
        pinned: Workspace of the run, with the weights, and for a folder its index; the same for all workers.
        output: Folder of the results; the same for all workers.
        formats: Formats of the results.
    """

    key: str
    studies: str
    conf: tuple[tuple[str, str], ...]
    pinned: Path
    output: Path
    formats: tuple[ExportFormat, ...]
