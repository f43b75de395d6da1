"""Filter of a PACS's responses to viewers: hides images left out of their series, and studies that mix patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from lib.dicomweb.matching import first_value
from lib.dicomweb.pacs_client import PacsClient

_DicomJson = dict[str, dict[str, Any]]


class _Catalog(Protocol):
    def ambiguous(self) -> Mapping[str, str]: ...

    def all(self) -> Sequence[Any]: ...


class PacsFilter:
    """Filter of the studies, series and instances that viewers may see, based on the current catalog.

    Args:
        client: Client of the PACS.
        catalog: Catalog of its series; ``ambiguous`` are those whose patient or images are ambiguous.
    """

    def __init__(self, client: object, catalog: _Catalog) -> None:
        self._client = client
        self._catalog = catalog

    def hidden_studies(self) -> dict[str, str]:
        """Return the studies that are hidden because all their series are ambiguous, with the reason."""
        ambiguous = self._catalog.ambiguous()
        if not ambiguous:
            return {}
        series = self._catalog.all()
        clear = {one.study_uid for one in series if one.uid not in ambiguous}
        return {
            one.study_uid: ambiguous[one.uid] for one in series if one.uid in ambiguous and one.study_uid not in clear
        }

    def hides_anything(self) -> bool:
        """Return whether anything is hidden."""
        return bool(self._catalog.ambiguous() or self._hidden_instances())

    def visible(self, items: list[_DicomJson]) -> list[_DicomJson]:
        """Return the visible items of a response in DICOM JSON."""
        studies, series, instances = self.hidden_studies(), self._catalog.ambiguous(), self._hidden_instances()
        return [
            item
            for item in items
            if first_value(item, "StudyInstanceUID") not in studies
            and first_value(item, "SeriesInstanceUID") not in series
            and first_value(item, "SOPInstanceUID") not in instances
        ]

    def _hidden_instances(self) -> set[str]:
        left_out = self._client.left_out() if isinstance(self._client, PacsClient) else {}
        return {path.name for files in left_out.values() for path, _ in files}
