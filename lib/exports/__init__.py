"""Labels in the forms that hospitals use: DICOM SEG, RTSTRUCT, NIfTI, and a table of the lesions."""
