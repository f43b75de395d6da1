"""List of the annotation objects of a folder or PACS: DICOM SEG, RTSTRUCT, and LIDC-IDRI XML files of a folder."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from lib.dicomweb.folder_client import FolderClient
from lib.dicomweb.matching import first_value

SEG, RTSTRUCT, LIDC_XML = "SEG", "RTSTRUCT", "LIDC XML"
_RECHECK_SECONDS = 600  # for a series whose number of instances the PACS does not report


@dataclass(frozen=True)
class Source:
    """An annotation object.

    Attributes:
        kind: SEG, RTSTRUCT or LIDC XML.
        uid: SOPInstanceUID; for an XML file its checksum.
        study_uid: StudyInstanceUID of a DICOM object.
        series_uid: SeriesInstanceUID of a DICOM object.
        path: Path of an XML file.
    """

    kind: str
    uid: str
    study_uid: str = ""
    series_uid: str = ""
    path: Path | None = None


class AnnotationObjects:
    """Cached list of the annotation objects; series are queried only if new or if their instance count changed.

    Args:
        client: Client of the folder or PACS.
        clock: Returns the time in seconds.
    """

    def __init__(self, client: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._listed: dict[tuple[str, str], tuple[str, float, list[Source]]] = {}

    def sources(self) -> Iterator[Source]:
        """Yield every object, oldest series first within its kind."""
        for kind in (SEG, RTSTRUCT):
            yield from self._of_kind(kind)
        if isinstance(self._client, FolderClient):
            for path, _ in self._client.index.problems():
                uid = None
                with contextlib.suppress(OSError):  # deleted, or unreachable at the moment
                    uid = _lidc_checksum(path, path.stat().st_mtime_ns) if path.suffix.lower() == ".xml" else None
                if uid:
                    yield Source(LIDC_XML, uid, path=path)

    def _of_kind(self, kind: str) -> Iterator[Source]:
        found = self._client.search_for_series(
            fields=["NumberOfSeriesRelatedInstances"], search_filters={"Modality": kind}
        )
        found.sort(key=lambda one: (first_value(one, "SeriesDate"), first_value(one, "SeriesTime")))
        present = set()
        for header in found:
            if first_value(header, "Modality") != kind:  # a PACS may ignore filters that it does not support
                continue
            study, series = first_value(header, "StudyInstanceUID"), first_value(header, "SeriesInstanceUID")
            present.add((kind, series))
            yield from self._of_series(kind, study, series, first_value(header, "NumberOfSeriesRelatedInstances"))
        self._listed = {key: known for key, known in self._listed.items() if key[0] != kind or key in present}

    def _of_series(self, kind: str, study: str, series: str, count: str) -> list[Source]:
        known_count, until, sources = self._listed.get((kind, series), (None, 0.0, []))
        if known_count != count or (not count and self._clock() >= until):
            instances = self._client.search_for_instances(study, series)
            sources = [Source(kind, first_value(one, "SOPInstanceUID"), study, series) for one in instances]
            self._listed[kind, series] = (count, self._clock() + _RECHECK_SECONDS, sources)
        return sources


@lru_cache(maxsize=4096)
def _lidc_checksum(path: Path, changed: int) -> str | None:
    """Return the checksum of a LIDC-IDRI XML file with CT annotations, or None for other files."""
    content = path.read_bytes()
    return hashlib.sha256(content).hexdigest() if b"<LidcReadMessage" in content[:4096] else None
