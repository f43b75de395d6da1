"""Writer of volumes as DICOM CT Image series."""

from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

RESCALE_INTERCEPT = -1024


def study_instance_uid(patient_id: str, study: str = "1") -> str:
    """Return the StudyInstanceUID that `write_dicom_series` uses for a study."""
    return generate_uid(entropy_srcs=["study", patient_id, study])


def write_dicom_series(
    directory: Path,
    hu: np.ndarray,
    affine: np.ndarray,
    *,
    patient_id: str,
    study: str = "1",
    series_number: int = 1,
    patient_position: str = "HFS",
    study_date: str = "20260105",
    study_time: str = "093000",
    series_description: str = "Chest",
    modality: str = "CT",
    descending_instances: bool = False,
    shuffle_files: bool = False,
) -> str:
    """Write one file per slice, Explicit VR Little Endian.

    The output is deterministic: all UIDs are derived from patient, study, series and slice.

    Args:
        directory: folder for one ``.dcm`` file per slice, created if missing.
        hu: int16 (slices, rows, columns), HU from -1024.
        affine: 4 × 4, from (column, row, slice, 1) to LPS mm. A sheared affine gives a tilted gantry.
        patient_id: PatientID; also part of the name.
        study: StudyID.
        series_number: SeriesNumber.
        patient_position: PatientPosition, such as HFS or FFS.
        study_date: YYYYMMDD.
        study_time: HHMMSS.
        series_description: SeriesDescription.
        modality: Modality; values other than CT are for tests.
        descending_instances: number the instances from the last slice.
        shuffle_files: name the files in an order unrelated to that of the slices.

    Returns:
        SeriesInstanceUID.
    """
    directory.mkdir(parents=True, exist_ok=True)
    count = hu.shape[0]
    series_uid = generate_uid(entropy_srcs=["series", patient_id, study, str(series_number)])
    names = np.arange(count)
    if shuffle_files:
        names = np.random.default_rng(series_number).permutation(count)

    image = _series_header(hu.shape, affine)
    image.PatientID = patient_id
    image.PatientName = f"Phantom^{patient_id}"
    image.StudyInstanceUID = study_instance_uid(patient_id, study)
    image.FrameOfReferenceUID = generate_uid(entropy_srcs=["frame", patient_id, study])
    image.SeriesInstanceUID = series_uid
    image.StudyID = study
    image.SeriesNumber = series_number
    image.SeriesDescription = series_description
    image.Modality = modality
    image.PatientPosition = patient_position
    image.StudyDate = image.SeriesDate = image.AcquisitionDate = image.ContentDate = study_date
    image.StudyTime = image.SeriesTime = image.AcquisitionTime = image.ContentTime = study_time
    image.AccessionNumber = generate_uid(entropy_srcs=["accession", patient_id, study])[-12:]

    normal = np.cross(affine[:3, 0], affine[:3, 1])
    normal /= np.linalg.norm(normal)
    for index in range(count):
        position = affine[:3, 3] + index * affine[:3, 2]
        image.SOPInstanceUID = generate_uid(entropy_srcs=[series_uid, str(index)])
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.InstanceNumber = count - index if descending_instances else index + 1
        image.ImagePositionPatient = [_decimal(value) for value in position]
        image.SliceLocation = _decimal(position @ normal)
        image.PixelData = (hu[index].astype(np.int32) - RESCALE_INTERCEPT).astype("<u2").tobytes()
        image.save_as(directory / f"{names[index]:04d}.dcm", write_like_original=False)
    return series_uid


def _series_header(shape: tuple[int, ...], affine: np.ndarray) -> FileDataset:
    """Return the attributes common to all slices: CT Image IOD (DICOM PS3.3 A.3), geometry and pixel format."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    image.is_little_endian, image.is_implicit_VR = True, False

    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    directions = affine[:3, :2] / spacing[:2]
    normal = np.cross(directions[:, 0], directions[:, 1])
    image.SpecificCharacterSet = "ISO_IR 192"
    image.SOPClassUID = CTImageStorage
    image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    image.PatientBirthDate = ""
    image.PatientSex = "O"
    image.ReferringPhysicianName = ""
    image.StudyDescription = "Chest phantom"
    image.Manufacturer = "LungLabel"
    image.ManufacturerModelName = "Phantom"
    image.BodyPartExamined = "CHEST"
    image.PositionReferenceIndicator = ""
    image.AcquisitionNumber = 1
    image.KVP = "120"
    image.ConvolutionKernel = "PHANTOM"
    image.SliceThickness = image.SpacingBetweenSlices = _decimal(abs(affine[:3, 2] @ normal))
    image.PixelSpacing = [_decimal(spacing[1]), _decimal(spacing[0])]
    image.ImageOrientationPatient = [_decimal(value) for value in directions.T.ravel()]
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.Rows, image.Columns = shape[1:]
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
    image.PixelRepresentation = 0
    image.RescaleIntercept = RESCALE_INTERCEPT
    image.RescaleSlope = 1
    image.RescaleType = "HU"
    image.WindowCenter, image.WindowWidth = "-500", "1500"
    return image


def _decimal(value: float) -> str:
    """Return a Decimal String of at most 16 characters (DICOM PS3.5 6.2)."""
    return f"{round(float(value), 9) + 0.0:.10g}"[:16]
