"""What ``doctor`` says about a folder or PACS: its series with the objects that belong to each, and other files."""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.datastore.catalog import Series, SeriesCatalog
from lib.dicomweb.folder_client import FolderClient
from lib.dicomweb.folder_index import UNREADABLE
from lib.dicomweb.login import split_login
from lib.dicomweb.pacs_client import pacs_client
from lib.errors import UserError
from lib.initial_labels.annotation_labels import AnnotationResult, read_annotations
from lib.initial_labels.annotation_objects import Source
from lib.initial_labels.candidates import AMBIGUOUS, describe
from lib.settings import is_url, load_info

_EXAMPLES = 3
_INDENT = "        "


@dataclass
class StudiesReport:
    """Result of checking a folder or PACS.

    Attributes:
        problems: What keeps data from being used and can be mended, a sentence each.
        summary: What is usable, in a sentence; empty if nothing could be listed.
    """

    problems: list[str] = field(default_factory=list)
    summary: str = ""


def check_studies(studies: str) -> StudiesReport:
    """Print the series of a folder or PACS, why some are not usable, and the objects that belong to each.

    Raises:
        UserError: It is neither a folder nor a URL.
    """
    if not is_url(studies) and not Path(studies).is_dir():
        raise UserError(f"{studies} is neither a folder nor a URL.")
    studies, login = split_login(studies) if is_url(studies) else (studies, None)
    print(f"\n{studies}")
    with tempfile.TemporaryDirectory() as scratch:
        if is_url(studies):
            return _Listing(SeriesCatalog(pacs_client(studies, login)), studies).report()
        client = FolderClient(Path(studies), Path(scratch) / "segs", Path(scratch) / "index.sqlite")
        client.scan(lambda done, total: print(f"\r  read {done} of {total} files", end="", flush=True))
        print()
        return _Listing(SeriesCatalog(client), studies).report()


class _Listing:
    """The catalog of a folder or PACS, with the objects of its series."""

    def __init__(self, catalog: SeriesCatalog, studies: str) -> None:
        self._catalog = catalog
        self._client = catalog.client
        self._studies = studies
        self._objects: dict[str, list[AnnotationResult]] = defaultdict(list)  # by series; "" for those of none here
        self._files: list[tuple[Path, str]] = []

    def report(self) -> StudiesReport:
        try:
            self._catalog.refresh()
        except Exception as error:  # any failure of the network or the PACS
            return StudiesReport([f"{self._studies} does not respond as DICOMweb: {error}"])
        self._read_objects()
        if isinstance(self._client, FolderClient):
            used = {result.source.path for results in self._objects.values() for result in results}
            self._files = [(path, reason) for path, reason in self._client.index.problems() if path not in used]
        for series in sorted(self._catalog.all(), key=_order):
            if series.problem is None or series.left_out:
                self._print_series(series)
        if others := self._objects.get("", []):
            print("  Objects of no CT series here:")
            _print_lines(self._refusals(others), "    ")
        self._print_files()
        return self._conclusion()

    def _read_objects(self) -> None:
        """Read the DICOM SEG, RTSTRUCT and LIDC-IDRI annotations, without storing a label."""
        known = {series.uid for series in self._catalog.all()}
        try:
            for result in read_annotations(self._client, self._catalog, load_info()["imports"]):
                for uid in result.image_ids or sorted(result.referenced & known) or [""]:
                    self._objects[uid].append(result)
        except Exception as error:  # a PACS that cannot search by modality
            print(f"  DICOM SEG and RTSTRUCT could not be listed: {error}")

    def _print_series(self, series: Series) -> None:
        left_out = self._client.left_out() if isinstance(self._client, FolderClient) else {}
        without = f" (and {len(left_out[series.uid])} excluded)" if series.uid in left_out else ""
        about = " ".join(filter(None, (series.value("StudyDate"), series.value("SeriesDescription"))))
        print(
            f"  {'usable  ' if series.problem is None else 'excluded'}  {series.value('PatientID') or '(no id)'}"
            f"  {series.instance_count} × {series.value('Modality')}{without}  {about}  {series.uid}"
        )
        _print_lines((series.problem,) if series.problem else (*series.warnings, *series.notes), _INDENT)
        objects = self._objects.get(series.uid, [])
        _print_lines([*self._labels(objects), *self._refusals(objects)], _INDENT)

    def _labels(self, objects: list[AnnotationResult]) -> Iterator[str]:
        """Yield what becomes the initial label of a series, or the candidates if the objects differ."""
        usable = [one for one in objects if one.mask is not None]
        if len({one.checksum for one in usable}) > 1:
            yield AMBIGUOUS
            yield from (f"  {self._name(one.source)}: {describe(one.info).partition(': ')[2]}" for one in usable)
        elif usable:
            yield f"initial label {usable[0].info['note']} ({', '.join(self._name(one.source) for one in usable)})"

    def _refusals(self, objects: list[AnnotationResult]) -> Iterator[str]:
        """Yield why objects become no label, each reason once with the names of its objects."""
        by_reason: dict[str, list[str]] = defaultdict(list)
        for one in filter(_is_refused, objects):
            problem = one.problem or "It refers to no CT series that can be used."
            reason = problem.removeprefix(f"{one.source.kind} {one.source.uid} became no initial label. ")
            by_reason[reason].append(self._name(one.source))
        for reason, names in by_reason.items():
            yield f"not used as a label, {len(names)} object(s): {reason}\n{_INDENT}  {_summarized(names)}"

    def _name(self, source: Source) -> str:
        """Return the kind of an object and its file in the folder; of a PACS, its UID."""
        path = source.path
        if path is None and isinstance(self._client, FolderClient):
            path = next((one.path for one in self._client.index.instances(source.series_uid, source.uid)), None)
        if path is None or not isinstance(self._client, FolderClient):
            return f"{source.kind} {source.uid}"
        return f"{source.kind} {path.relative_to(self._client.root)}"

    def _print_files(self) -> None:
        for reason, count in Counter(reason for _, reason in self._files).most_common():
            names = [str(path) for path, found in self._files if found == reason]
            print(f"  {count} file(s): {reason}\n{_INDENT}  {_summarized(names)}")

    def _conclusion(self) -> StudiesReport:
        every = self._catalog.all()
        usable = [series for series in every if series.problem is None]
        warned = sum(bool(series.warnings) for series in usable)
        refused = {one.source.uid for of_series in self._objects.values() for one in of_series if _is_refused(one)}
        counts = [f"{len(usable)} usable CT series ({warned} with a warning)"]
        counts += [f"{sum(series.left_out for series in every)} excluded", f"{len(self._files)} other files"]
        counts += [f"{len(refused)} object(s) not used as a label"] if refused else []
        problems = [f"series {uid}: {problem}" for uid, problem in self._catalog.ambiguous().items()]
        if unreadable := [str(path) for path, reason in self._files if reason.startswith(UNREADABLE)]:
            problems.append(f"{len(unreadable)} files or folders cannot be read: {_summarized(unreadable)}")
        if not usable:
            problems.append(f"{self._studies} has no CT series that can be used")
        return StudiesReport(problems, ", ".join(counts))


def _is_refused(result: AnnotationResult) -> bool:
    return result.mask is None


def _order(series: Series) -> tuple[bool, Any, str]:
    return series.problem is not None, series.value("PatientID"), series.uid


def _print_lines(lines: Iterable[str], indent: str) -> None:
    for line in lines:
        print(f"{indent}{line}")


def _summarized(names: list[str]) -> str:
    more = f" and {len(names) - _EXAMPLES} more" if len(names) > _EXAMPLES else ""
    return ", ".join(names[:_EXAMPLES]) + more
