"""Small DICOM instances and how to store them (STOW-RS, PS3.18 10.5)."""

import io

import requests
from pydicom import Dataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    RTStructureSetStorage,
    SegmentationStorage,
    generate_uid,
)

from lib.dicomweb import multipart

CLASSES = {
    "seg": SegmentationStorage,
    "sr": EnhancedSRStorage,
    "rtstruct": RTStructureSetStorage,
    "ct": CTImageStorage,
}


def instance(kind: str, **values: str) -> Dataset:
    """Return a small instance with only the attributes that STOW-RS reads."""
    dataset = Dataset()
    dataset.SOPClassUID = CLASSES[kind]
    dataset.PatientID, dataset.PatientName, dataset.Modality = "P1", "Stored", kind.upper()
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        setattr(dataset, keyword, values.get(keyword) or generate_uid())
    dataset.ensure_file_meta()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.is_little_endian, dataset.is_implicit_VR = True, False
    return dataset


def encoded(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, write_like_original=False)
    return buffer.getvalue()


def instance_bytes(kind: str, **values: str) -> bytes:
    return encoded(instance(kind, **values))


def post(server: str, *parts: bytes, study: str = "", kind: str | None = None) -> requests.Response:
    body, content_type = multipart.encode(parts, "application/dicom")
    where = f"{server}/stow/studies" + (f"/{study}" if study else "")
    return requests.post(where, data=body, headers={"Content-Type": kind or content_type}, timeout=60)
