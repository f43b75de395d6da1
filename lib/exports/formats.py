"""The names of the export formats, the same for commands and routes."""

from __future__ import annotations

from enum import Enum

_FORMER = {  # names of earlier releases, and MONAI Label's
    "image": "nifti",
    "dicom_seg": "seg",
    "dicom_seg_lesions": "lesion_seg",
    "dicom_sr": "sr",
    "dicom_rtstruct": "rtstruct",
}
TABLE = "table"  # both tables, in commands


class ExportFormat(str, Enum):
    """A format in which a label or a prediction is exported. Former names are accepted as values."""

    seg = "seg"  # DICOM SEG, one segment for each label
    lesion_seg = "lesion_seg"  # DICOM SEG, one segment for each lesion, as referenced by the SR
    sr = "sr"  # DICOM SR of the lesions (TID 1500)
    rtstruct = "rtstruct"  # DICOM RTSTRUCT
    nifti = "nifti"  # mask on the grid of the series
    csv = "csv"  # table of the lesions
    json = "json"  # the same

    @classmethod
    def _missing_(cls, value: object) -> ExportFormat | None:
        return cls(_FORMER[value]) if isinstance(value, str) and value in _FORMER else None


TABLES = frozenset({ExportFormat.csv, ExportFormat.json})  # of all series together; the others have a file for each
SUFFIXES = {
    ExportFormat.seg: ".seg.dcm",
    ExportFormat.lesion_seg: ".lesions.seg.dcm",
    ExportFormat.sr: ".sr.dcm",
    ExportFormat.rtstruct: ".rtstruct.dcm",
    ExportFormat.nifti: ".nii.gz",
}
MEANINGS = {
    ExportFormat.seg: "DICOM SEG",
    ExportFormat.lesion_seg: "DICOM SEG with a segment for each lesion",
    ExportFormat.sr: "DICOM SR of the lesions, with the SEG that it refers to",
    ExportFormat.rtstruct: "DICOM RTSTRUCT",
    ExportFormat.nifti: "NIfTI",
    ExportFormat.csv: "tables of all cases and lesions as CSV",
    ExportFormat.json: "the same as JSON",
}


def formats_named(name: str) -> tuple[ExportFormat, ...]:
    """Return the formats with a name: one, or for ``table`` both tables.

    Raises:
        ValueError: There is no such format.
    """
    return (ExportFormat.csv, ExportFormat.json) if name == TABLE else (ExportFormat(name),)
