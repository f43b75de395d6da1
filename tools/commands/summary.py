"""The printed summary of a campaign."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

_DETAILS = "each"  # a list with an entry per kill; only in summary.json


def report(summary: Mapping[str, object], folder: Path, *, failures: str, keep: bool) -> int:
    """Print a summary, and remove the folder of the campaign unless ``keep`` is set or anything failed.

    Args:
        summary: Names and values; one of them counts or lists the failures.
        folder: Folder of the campaign.
        failures: Name of the value with the failures.
        keep: Whether to keep the folder of a campaign without failures.

    Returns:
        Exit status: 1 if anything failed.
    """
    for name, value in summary.items():
        if name != _DETAILS:
            print(f"{name:<30} {value}")
    if keep or summary[failures]:
        print(f"All files and summary.json: {folder}")
    else:
        shutil.rmtree(folder)
    return 1 if summary[failures] else 0
