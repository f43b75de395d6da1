"""Problems and warnings of series beyond their own headers: excluded files, and UIDs shared with other series."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lib.datastore.series_usability import SeriesUsability
from lib.dicomweb.file_exclusion import DUPLICATE_UID, OTHER_KIND
from lib.dicomweb.shared_uids import shared_uids

_EXAMPLES = 3
_LeftOut = Mapping[str, Sequence[tuple[Path, str]]]


def series_remarks(headers: Iterable[dict[str, dict[str, Any]]], left_out: _LeftOut) -> dict[str, SeriesUsability]:
    """Return problems and warnings of series that depend on the rest of the folder or PACS.

    Args:
        headers: DICOM JSON of the study and series attributes of all series.
        left_out: Files excluded from series, with the reason, by SeriesInstanceUID.

    Returns:
        Verdicts by SeriesInstanceUID, only of series that have one.
    """
    found = {uid: _of_files(files) for uid, files in left_out.items()}
    for uid, problem in shared_uids(headers).items():
        files = found.get(uid, SeriesUsability())
        found[uid] = replace(files, problem="; ".join(filter(None, (problem, files.problem))))
    return found


def _of_files(files: Sequence[tuple[Path, str]]) -> SeriesUsability:
    twins = [path.name for path, reason in files if reason in DUPLICATE_UID]
    if twins:
        return SeriesUsability(
            f"{len(twins)} files have the SOP Instance UID of another file, but other pixels or another PatientID, "
            f"and it is unknown which are right: {_listed(twins)}"
        )
    outliers = Counter(reason.removeprefix(OTHER_KIND) for _, reason in files if reason.startswith(OTHER_KIND))
    names = {kind: [path.name for path, reason in files if reason == OTHER_KIND + kind] for kind in outliers}
    return SeriesUsability(
        warnings=tuple(
            f"{count} image(s) of the series are excluded, {kind}: {_listed(names[kind])}"
            for kind, count in outliers.items()
        )
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _EXAMPLES} more" if len(names) > _EXAMPLES else ""
    return ", ".join(names[:_EXAMPLES]) + more
