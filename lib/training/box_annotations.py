"""Bounding-box annotations, which show that a slice has tumour but are no masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def slices_with_boxes(series_folder: Path, sop_uids: Sequence[str]) -> frozenset[int]:
    """Return the slices with a bounding box and their neighbours, which must not be used as free of tumour.

    Lung-PET-CT-Dx has a folder ``Annotation`` next to each series, with an XML file named by its SOP Instance UID for
    each slice with a bounding box around a tumour.

    Args:
        series_folder: DICOM folder of the series.
        sop_uids: SOP Instance UID of each slice of the volume.
    """
    annotated = {xml.stem for xml in (series_folder.resolve().parent / "Annotation").glob("*.xml")}
    return frozenset(z + step for z, uid in enumerate(sop_uids) if uid in annotated for step in (-1, 0, 1))
