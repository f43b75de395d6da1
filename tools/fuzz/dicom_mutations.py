"""Mutated series of DICOM files, each with one kind of error."""

from __future__ import annotations

import copy
import struct
from collections.abc import Callable, Sequence

import numpy as np
from pydicom.uid import generate_uid

from tools.fuzz import bombs
from tools.fuzz.byte_damage import DAMAGES
from tools.fuzz.odd_values import TEXTS, one_of
from tools.fuzz.raw_dicom import RawDicom

_UIDS = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "SOPClassUID", "FrameOfReferenceUID")
_WORDS = (
    "PatientName",
    "PatientID",
    "SeriesDescription",
    "Modality",
    "StudyDate",
    "ImageType",
    "SpecificCharacterSet",
    "InstanceNumber",
    "SeriesNumber",
    "RescaleType",
    "PhotometricInterpretation",
    "ContrastBolusAgent",
)
_DECIMALS = (
    "PixelSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "RescaleSlope",
    "RescaleIntercept",
    "SliceThickness",
    "GantryDetectorTilt",
    "NumberOfFrames",
    "WindowCenter",
)
_DECIMAL_TEXTS = (
    "",
    "nan",
    "inf",
    "-inf",
    "1e400",
    "1e38",
    "-1e38",
    "0",
    "-1",
    "abc",
    "0\\0",
    "nan\\nan",
    "1e-300\\1e-300",
    "1\\2\\3\\4\\5\\6\\7",
    "0\\0\\0",
    "nan\\nan\\nan",
    "1e308\\1e308\\1e308",
    "0\\0\\0\\0\\0\\0",
    "2147483647",
    "99999999999999",
    "1,5",
    "0x10",
)
_SIZES = ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "SamplesPerPixel", "PixelRepresentation")
_SIZE_VALUES = (0, 1, 2, 7, 8, 12, 32, 64, 255, 4096, 32768, 65535)
_SYNTAXES = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.100",
    "1.2.840.10008.1.2.4.201",
    "1.2.3",
    "",
    "x",
)
_COMPRESSED = _SYNTAXES[4:-3]
_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.2.1",
    "1.2.840.10008.5.1.4.1.1.2.2",
    "1.2.840.10008.5.1.4.1.1.66.4",
    "1.2.840.10008.5.1.4.1.1.481.3",
    "1.2.840.10008.1.3.10",
    "1.2.840.10008.5.1.4.1.1.7",
)
_TEN_GIGABYTES = 10_240  # MiB


def mutated_series(template: Sequence[RawDicom], rng: np.random.Generator) -> tuple[str, list[bytes]]:
    """Return a new series with unique UIDs and one kind of error, in one of its slices or in all.

    Args:
        template: Slices of a valid series.
        rng: Random generator.

    Returns:
        Description of the mutation, and the content of the files.
    """
    slices, series_uid = copy.deepcopy([*template]), generate_uid(entropy_srcs=[str(rng.integers(2**63))])
    for number, one in enumerate(slices):
        one.set("StudyInstanceUID", f"{series_uid[:60]}.0")  # a second patient would hide the study
        one.set("SeriesInstanceUID", series_uid)
        one.set("SOPInstanceUID", f"{series_uid[:60]}.{number}")
        one.set("MediaStorageSOPInstanceUID", f"{series_uid[:60]}.{number}")
    mutation = one_of(rng, _MUTATIONS)
    victims = range(len(slices)) if rng.random() < 0.6 else [int(rng.integers(len(slices)))]
    chosen = rng.bit_generator.state
    contents = []
    for number, one in enumerate(slices):
        if number in victims:
            rng.bit_generator.state = chosen  # the same mutation for all of them
        contents.append(mutation(one, rng) if number in victims else one.encoded())
    return mutation.__name__.strip("_"), contents


def _bytes(file: RawDicom, rng: np.random.Generator) -> bytes:
    return one_of(rng, DAMAGES)(file.encoded(), rng)


def _uid(file: RawDicom, rng: np.random.Generator) -> bytes:
    file.set(one_of(rng, _UIDS), one_of(rng, TEXTS))
    return file.encoded()


def _word(file: RawDicom, rng: np.random.Generator) -> bytes:
    file.set(one_of(rng, _WORDS), one_of(rng, TEXTS))
    return file.encoded()


def _decimal(file: RawDicom, rng: np.random.Generator) -> bytes:
    file.set(one_of(rng, _DECIMALS), one_of(rng, _DECIMAL_TEXTS))
    return file.encoded()


def _size(file: RawDicom, rng: np.random.Generator) -> bytes:
    for _ in range(rng.integers(1, 3)):
        file.set(one_of(rng, _SIZES), struct.pack("<H", one_of(rng, _SIZE_VALUES)))
    return file.encoded()


def _missing(file: RawDicom, rng: np.random.Generator) -> bytes:
    for part in (file.body, file.meta):
        for tag in rng.permutation([*part])[: rng.integers(1, 4)]:
            del part[int(tag)]
    return file.encoded()


def _claim(file: RawDicom, rng: np.random.Generator) -> bytes:
    """Claim ten gigabytes of pixels in a file of a kilobyte."""
    for keyword in ("Rows", "Columns"):
        file.set(keyword, struct.pack("<H", 65535))
    if rng.random() < 0.5:
        file.set("NumberOfFrames", one_of(rng, ["2", "100000", "2147483647"]))
    if rng.random() < 0.6:
        return _encapsulated_as(file, one_of(rng, _COMPRESSED), _items(rng.bytes(200)))
    file.set("PixelData", bytes(16))
    file.set("TransferSyntaxUID", one_of(rng, _SYNTAXES))
    return file.encoded()


def _syntax(file: RawDicom, rng: np.random.Generator) -> bytes:
    """Declare another transfer syntax than that of the pixels."""
    file.set("TransferSyntaxUID", one_of(rng, _SYNTAXES))
    return file.encoded()


def _fragments(file: RawDicom, rng: np.random.Generator) -> bytes:
    """Write encapsulated pixel data (PS3.5 A.4) with broken items."""
    items = one_of(
        rng,
        [
            b"",
            _items(rng.bytes(100)),
            _items(),
            _items(rng.bytes(100), offsets=struct.pack("<I", 0xFFFFFFFF)),
            _items(rng.bytes(100), offsets=b"\0\0\0"),
            b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0\xff\xff\xff\xff" + rng.bytes(50),
            b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0\xff\xff\xff\x7f" + rng.bytes(50),
            _items(*[b""] * 1000),
            _items(b"\xff\xd8\xff\xc3" + rng.bytes(200)),
            _items(b"\xff\x4f\xff\x51" + b"\0\x2f\0\0" + b"\xff" * 60),
            _items(struct.pack("<16I", 0xFFFFFFFF, *[0xFFFFFFF0] * 15) + rng.bytes(20)),
        ],
    )
    return _encapsulated_as(file, one_of(rng, _COMPRESSED), items)


def _items(*fragments: bytes, offsets: bytes = b"") -> bytes:
    item = b"\xfe\xff\x00\xe0"
    parts = [item + struct.pack("<I", len(part)) + part for part in (offsets, *fragments)]
    return b"".join(parts) + b"\xfe\xff\xdd\xe0\0\0\0\0"


def _encapsulated_as(file: RawDicom, syntax: str, items: bytes) -> bytes:
    file.set("TransferSyntaxUID", syntax)
    file.remove("PixelData")
    return file.encoded() + b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + items


def _bomb(file: RawDicom, rng: np.random.Generator) -> bytes:
    """Append zeros to a deflated file (PS3.5 A.5), a megabyte for each kilobyte, up to ten gigabytes."""
    zeros = one_of(rng, [1, 300, 1500, _TEN_GIGABYTES])
    file.set("TransferSyntaxUID", "1.2.840.10008.1.2.1.99")
    file.remove("PixelData")
    pixels = b"\xe0\x7f\x10\x00OW\0\0" + struct.pack("<I", min(zeros << 20, 0xFFFFFFF0))
    return file.encoded_meta() + bombs.deflate(file.encoded_body() + pixels, zeros)


def _nested(file: RawDicom, rng: np.random.Generator) -> bytes:
    """Nest sequences deeply enough to exhaust the stack of a recursive reader."""
    depth = one_of(rng, [3, 100, 1000, 20_000])
    one = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    end = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    whole = file.encoded()
    place = whole.find(b"\x10\x00\x10\x00PN")
    return whole[:place] + one * depth + (end * depth if rng.random() < 0.7 else b"") + whole[place:]


def _kind(file: RawDicom, rng: np.random.Generator) -> bytes:
    """Set the SOP Class of another kind of object, without the attributes it requires."""
    kind = one_of(rng, _CLASSES)
    file.set("SOPClassUID", kind)
    file.set("MediaStorageSOPClassUID", kind)
    if rng.random() < 0.6:
        file.set("NumberOfFrames", one_of(rng, ["0", "1", "5", "1000000"]))
        empty_item = b"\xfe\xff\x00\xe0\0\0\0\0"
        file.set("PerFrameFunctionalGroupsSequence", empty_item * int(rng.integers(4)))
        file.set("SharedFunctionalGroupsSequence", empty_item)
    return file.encoded()


def _vr(file: RawDicom, rng: np.random.Generator) -> bytes:
    """Set a VR that does not match the value of an element."""
    keyword = one_of(rng, [*_UIDS, *_WORDS, *_SIZES, *_DECIMALS[:5]])
    vr = one_of(rng, ["SQ", "OB", "UN", "FD", "US", "AT", "PN", "ZZ", "\0\0"])
    file.set(keyword, rng.bytes(int(rng.integers(0, 40))), vr=vr)
    return file.encoded()


def _bare(file: RawDicom, rng: np.random.Generator) -> bytes:
    """Remove the preamble, or what follows it."""
    whole = file.encoded()
    return one_of(rng, [whole[132:], whole[128:], whole[:132], whole[:140], b"DICM" + whole, whole[300:], b""])


_MUTATIONS: tuple[Callable[[RawDicom, np.random.Generator], bytes], ...] = (
    _bytes,
    _bytes,
    _bytes,
    _uid,
    _word,
    _decimal,
    _size,
    _size,
    _missing,
    _claim,
    _syntax,
    _fragments,
    _bomb,
    _nested,
    _kind,
    _vr,
    _bare,
)
