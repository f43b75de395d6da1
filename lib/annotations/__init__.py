"""Readers of segmentations made by other programs: DICOM SEG, RT Structure Sets, LIDC-IDRI XML."""
