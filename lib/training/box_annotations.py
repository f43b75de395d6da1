"""Slices that may show a tumour which no mask of this app marks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def slices_with_boxes(series_folder: Path, sop_uids: Sequence[str]) -> frozenset[int]:
    """Return the slices that must not be used as free of tumour.

    Lung-PET-CT-Dx has a folder ``Annotation`` beside its series, with an XML file for each slice on which somebody
    drew a box around a tumour, named by its SOP Instance UID. These slices and their neighbours are returned.

    Args:
        series_folder: DICOM folder of the series.
        sop_uids: SOP Instance UID of each slice of the volume.
    """
    annotated = {xml.stem for xml in (series_folder.resolve().parent / "Annotation").glob("*.xml")}
    return frozenset(z + step for z, uid in enumerate(sop_uids) if uid in annotated for step in (-1, 0, 1))
