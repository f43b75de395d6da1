"""Exports of labels: DICOM SEG, RTSTRUCT, NIfTI, DICOM SR and a table of the lesions."""
