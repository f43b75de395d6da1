"""DICOM files with false size claims, or damaged where the index does not read."""

import struct
import zlib
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    JPEGLosslessSV1,
    RLELossless,
    generate_uid,
)

from lib.datastore.volume import read_volume
from lib.dicomweb import dicom_file
from lib.dicomweb.dicom_file import (
    NotUsableError,
    check_elements,
    read_dicom,
    read_frames,
    read_index_header,
    read_metadata,
)
from lib.dicomweb.folder_client import FolderClient
from lib.phantoms import Acquisition, chest_volume, write_dicom_series
from lib.server.folder_routes import _dicom_files
from tests.support.dicom_variants import transcode
from tools.fuzz import bombs
from tools.fuzz.raw_dicom import RawDicom

ITEM = b"\xfe\xff\x00\xe0"
END = b"\xfe\xff\xdd\xe0\0\0\0\0"


@pytest.fixture
def slice_path(tmp_path) -> Path:
    """Return a valid slice, alone in its folder."""
    hu, _, affine = chest_volume(1, acquisition=Acquisition(shape=(3, 64, 72), spacing=(5.0, 5.0, 5.0)))
    write_dicom_series(tmp_path / "series", hu, affine, patient_id="HOSTILE")
    folder = tmp_path / "dicom"
    folder.mkdir()
    return sorted((tmp_path / "series").iterdir())[0].rename(folder / "slice.dcm")


def deflated(slice_path: Path, zeros: int) -> bytes:
    """Return the deflated file with this many MiB of zeros as its pixels."""
    file = RawDicom.read(slice_path)
    file.set("TransferSyntaxUID", str(DeflatedExplicitVRLittleEndian))
    file.remove("PixelData")
    pixels = b"\xe0\x7f\x10\x00OW\0\0" + struct.pack("<I", zeros << 20)
    return file.encoded_meta() + bombs.deflate(file.encoded_body() + pixels, zeros)


def test_every_reader_rejects_a_decompression_bomb(slice_path, monkeypatch):
    slice_path.write_bytes(deflated(slice_path, 33))
    monkeypatch.setattr(dicom_file, "_MAX_INFLATED_BYTES", 32 << 20)

    def inflate_all(*_: object) -> bytes:
        raise AssertionError("inflated")

    monkeypatch.setattr(zlib, "decompress", inflate_all)  # used by pydicom
    assert slice_path.stat().st_size < 1 << 20
    for read in (read_index_header, read_dicom, lambda path: read_dicom(path.read_bytes())):
        with pytest.raises(NotUsableError, match="larger than 32 MiB when inflated"):
            read(slice_path)
    with pytest.raises(NotUsableError, match="larger than 32 MiB"):
        read_frames(slice_path, [1])


def test_accepts_a_valid_deflated_file(slice_path):
    pixels = dcmread(slice_path).PixelData
    transcode(slice_path.parent, DeflatedExplicitVRLittleEndian)
    read_index_header(slice_path)
    assert read_frames(slice_path, [1])[1] == [pixels]


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLosslessSV1, DeflatedExplicitVRLittleEndian])
def test_rejects_a_file_that_claims_more_pixels_than_it_holds(slice_path, syntax):
    file = RawDicom.read(slice_path)
    file.remove("PixelData")
    for keyword in ("Rows", "Columns"):
        file.set(keyword, struct.pack("<H", 65535))
    file.set("TransferSyntaxUID", str(syntax))
    if syntax == DeflatedExplicitVRLittleEndian:
        content = file.encoded_meta() + bombs.deflate(file.encoded_body(), 0)
    else:
        content = file.encoded() + b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + ITEM + bytes(4) + END
    slice_path.write_bytes(content)
    with pytest.raises(NotUsableError, match="claims 8589672450 bytes of pixels"):
        read_index_header(slice_path)


def test_rejects_an_oversized_trailing_element_before_allocating_it(slice_path):
    """Found by fuzzing, cases 1896 and 2226: GDCM allocated 4 GiB."""
    check_elements(slice_path)
    slice_path.write_bytes(slice_path.read_bytes() + b"\xfc\xff\xfc\xffOB\0\0\xf0\xff\xff\xff" + bytes(50))
    read_index_header(slice_path)
    with pytest.raises(NotUsableError, match="claims more bytes than the file has"):
        read_volume([slice_path])


def damaged_items(offsets: bytes) -> bytes:
    return ITEM + struct.pack("<I", len(offsets)) + offsets + ITEM + struct.pack("<I", 100) + bytes(100) + END


@pytest.mark.parametrize(
    "items",
    [
        damaged_items(b"\0\0\0"),
        damaged_items(struct.pack("<3I", 0, 0xFFFFFFFF, 5)),
        ITEM + bytes(4) + ITEM + b"\xff\xff\xff\x7f" + bytes(50),
        b"nonsense that is no item",
        b"",
    ],
)
def test_damaged_items_raise_an_error_with_a_message(slice_path, items):
    file = RawDicom.read(slice_path)
    file.set("TransferSyntaxUID", str(RLELossless))
    file.remove("PixelData")
    slice_path.write_bytes(file.encoded() + b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + items)
    with pytest.raises((NotUsableError, LookupError)) as raised:
        read_frames(slice_path, [1, 2])
    assert str(raised.value)


def test_instance_without_file_meta_is_sent(slice_path, tmp_path):
    file = RawDicom.read(slice_path)
    uids = [file.text(name) for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")]
    for tag in [tag for tag in file.meta if tag & 0xFFFF in (0x0002, 0x0003, 0x0012)]:
        del file.meta[tag]
    slice_path.write_bytes(file.encoded())
    client = FolderClient(slice_path.parent, tmp_path / "store", tmp_path / "index.sqlite")
    client.scan()
    instance = client.retrieve_instance(*uids)
    instance.save_as(tmp_path / "sent.dcm", write_like_original=False)
    sent = dcmread(tmp_path / "sent.dcm")
    assert sent.file_meta.MediaStorageSOPClassUID == sent.SOPClassUID
    assert sent.file_meta.MediaStorageSOPInstanceUID == sent.SOPInstanceUID == uids[2]


@pytest.mark.parametrize(
    ("keyword", "value", "vr"),
    [
        ("PatientWeight", b"DOE^JOHN", "DS"),  # not a number
        ("NumberOfFrames", b"DOE^JOHN", "IS"),
        ("Rows", b"\0\1\0", "US"),  # one and a half numbers
        ("SmallestImagePixelValue", b"\0\1\0\0", "FD"),
        ("InstanceNumber", b"1" * 400, "IS"),
        ("WindowCenter", b"DOE^JOHN\\-500", "DS"),
        ("StudyDate", b"DOE^JOHN", "DA"),
        ("PatientName", bytes(range(128, 200)), "PN"),
        ("SpecificCharacterSet", b"DOE_JOHN", "CS"),
        ("HighBit", b"", "ZZ"),  # invalid VR
    ],
)
def test_unparsable_element_does_not_reject_the_file(slice_path, tmp_path, caplog, capfd, keyword, value, vr):
    """R16: only required elements are parsed, and no message quotes the file's values."""
    file = RawDicom.read(slice_path)
    file.set(keyword, value, vr=vr)
    slice_path.write_bytes(file.encoded())
    client = FolderClient(slice_path.parent, tmp_path / "store", tmp_path / "index.sqlite")
    client.scan()
    assert client.index.problems() == []
    (header,) = client.search_for_series()
    study, series = header["0020000D"]["Value"][0], header["0020000E"]["Value"][0]
    (metadata,) = client.retrieve_series_metadata(study, series)
    assert metadata["00280030"]["Value"]
    assert client.retrieve_frames(study, series, metadata["00080018"]["Value"][0], [1])[1]
    output = caplog.text + "".join(capfd.readouterr())
    assert "DOE" not in output
    assert len(output) < 200


def test_damaged_file_is_reported_briefly_without_its_values(slice_path, monkeypatch):
    """R16: pydicom's messages quote the file."""

    def fail(*_: object, **__: object) -> None:
        raise ValueError(f"could not convert 'DOE^JOHN' to b\"DOE^JOHN\" {'and so on ' * 100}'DOE\nmore lines")

    monkeypatch.setattr(dicom_file, "dcmread", fail)
    for read in (read_index_header, read_metadata):
        with pytest.raises(NotUsableError) as raised:
            read(slice_path)
        assert "DOE" not in str(raised.value)
        assert len(str(raised.value)) < 160
        assert "\n" not in str(raised.value)


def test_error_contains_no_traceback_of_pydicom():
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.add_new("PixelData", "OB", b"not encapsulated")
    dataset["PixelData"].is_undefined_length = True
    with pytest.raises(NotUsableError, match="encapsulated") as error:
        _dicom_files([dataset])
    assert "Traceback" not in str(error.value)
