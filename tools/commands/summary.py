"""The printed summary of a campaign."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

_DETAILS = "each"  # a list with an entry per kill; only in summary.json


def report(summary: Mapping[str, object], folder: Path, *, failures: str, keep: bool) -> int:
    """Print a summary, and remove its folder unless it is wanted or something failed.

    Args:
        summary: Names and values; one of them counts or lists the failures.
        folder: All files of the campaign.
        failures: Name of that value.
        keep: Keep the folder of a campaign without failures.

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
