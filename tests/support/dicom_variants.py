"""DICOM series as found in hospitals, derived from a plain one: other transfer syntaxes, multi-frame."""

from collections.abc import Callable, Sequence
from pathlib import Path

from highdicom.legacy import LegacyConvertedEnhancedCTImage
from pydicom import Dataset, dcmread
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    generate_uid,
)

from tools.fuzz.raw_dicom import RawDicom

SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless)


def sorted_slices(folder: Path) -> list[Path]:
    """Return the files of a series ordered along the slice normal, from their headers alone."""

    def position(path: Path) -> float:
        header = dcmread(path, stop_before_pixels=True)
        (a, b, c), (d, e, f) = header.ImageOrientationPatient[:3], header.ImageOrientationPatient[3:]
        normal = (b * f - c * e, c * d - a * f, a * e - b * d)
        return sum(x * n for x, n in zip(header.ImagePositionPatient, normal, strict=True))

    return sorted(folder.iterdir(), key=position)


def change(paths: Sequence[Path], edit: Callable[[Dataset], object]) -> None:
    """Apply ``edit`` to each file in place."""
    for path in paths:
        dataset = dcmread(path)
        edit(dataset)
        dataset.save_as(path)


def transcode(folder: Path, syntax: str) -> None:
    """Rewrite a series of 16-bit Explicit VR Little Endian images in another transfer syntax."""
    for path in folder.iterdir():
        dataset = dcmread(path)
        assert dataset.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        if syntax == RLELossless:
            dataset.compress(RLELossless)
        if syntax == ExplicitVRBigEndian:
            pixels = bytearray(dataset.PixelData)
            pixels[0::2], pixels[1::2] = pixels[1::2], pixels[0::2]
            dataset.PixelData = bytes(pixels)
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.is_little_endian = syntax != ExplicitVRBigEndian
        dataset.is_implicit_VR = syntax == ImplicitVRLittleEndian
        dataset.save_as(path, write_like_original=False)


def write_multi_frame(folder: Path, target: Path) -> str:
    """Write the slices of a series as one Legacy Converted Enhanced CT and return its SeriesInstanceUID.

    Frames follow the order of the file names.
    """
    slices = [dcmread(path) for path in sorted(folder.iterdir())]
    for number, one in enumerate(slices, start=1):
        one.InstanceNumber = number  # highdicom sorts by it
        del one.AcquisitionDate, one.AcquisitionTime  # highdicom rejects pydicom's strings here
    series_uid = generate_uid(entropy_srcs=["multi-frame", slices[0].SeriesInstanceUID])
    image = LegacyConvertedEnhancedCTImage(
        slices,
        series_instance_uid=series_uid,
        series_number=9,
        sop_instance_uid=generate_uid(entropy_srcs=["instance", series_uid]),
        instance_number=1,
    )
    target.mkdir(parents=True, exist_ok=True)
    image.save_as(target / "multi-frame.dcm")
    return series_uid


def set_text(paths: Sequence[Path], keyword: str, text: str) -> None:
    """Set an element to ``text``, even if its VR does not allow that."""
    for path in paths:
        file = RawDicom.read(path)
        file.set(keyword, text.encode() + b" " * (len(text) % 2))
        path.write_bytes(file.encoded())


def use_decimal_commas(folder: Path) -> None:
    """Write geometry and rescale values with decimal commas, as software does in a German locale."""
    for path in folder.iterdir():
        header = dcmread(path, stop_before_pixels=True)
        for keyword in ("PixelSpacing", "ImagePositionPatient", "RescaleIntercept", "RescaleSlope", "SliceThickness"):
            values = header[keyword].value
            values = values if header[keyword].VM > 1 else [values]
            set_text([path], keyword, "\\".join(f"{float(value):.4f}" for value in values).replace(".", ","))
