"""The DICOM attributes kept in the index, by level (PS3.18 tables 10.6.3-3 to 10.6.3-5)."""

STUDY = (
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
)
SERIES = (
    "SeriesInstanceUID",
    "Modality",
    "SeriesNumber",
    "SeriesDescription",
    "SeriesDate",
    "SeriesTime",
    "BodyPartExamined",
    "Manufacturer",
)
INSTANCE = (
    "SOPClassUID",
    "SOPInstanceUID",
    "InstanceNumber",
    "Rows",
    "Columns",
    "BitsAllocated",
    "SamplesPerPixel",
    "NumberOfFrames",
    # Decide whether a series is one regular grid (PS3.3 C.7.6.2, C.8.2.1):
    "ImageType",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "GantryDetectorTilt",
    # Sharpness of the images:
    "ConvolutionKernel",
    # Meaning of the pixel values (PS3.3 C.11.1), and contrast agent:
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "ContrastBolusAgent",
)
