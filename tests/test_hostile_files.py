"""Image files that reference other files or claim a false size are rejected by their headers."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from lib.datastore.label_reader import read_label
from lib.dicomweb.dicom_file import NotUsableError
from lib.dicomweb.image_file import read_image_file
from lib.dicomweb.image_header import SUFFIXES, check_before_reading
from lib.errors import UserError
from tests.support.image_headers import META, NRRD

SECRET = bytes(range(8)) * 42  # one byte per voxel of the image


@pytest.fixture
def image() -> sitk.Image:
    voxels = np.arange(6 * 7 * 8, dtype=np.int16).reshape(6, 7, 8) * 5 - 1000
    return sitk.GetImageFromArray(voxels)


@pytest.fixture
def image_path(image, tmp_path) -> Path:
    sitk.WriteImage(image, str(tmp_path / "image.nrrd"))
    return tmp_path / "image.nrrd"


@pytest.fixture
def secret(tmp_path) -> Path:
    path = tmp_path / "elsewhere" / "secret"
    path.parent.mkdir()
    path.write_bytes(SECRET)
    return path


DETACHED = {
    "nrrd": (".nrrd", NRRD.format("data file: {secret}")),
    "nrrd in capitals": (".nrrd", NRRD.format("DataFile: {secret}")),
    "seg.nrrd": (".seg.nrrd", NRRD.format("data file: {secret}")),
    "nrrd with a list": (".nrrd", NRRD.format("data file: LIST\n{secret}")),
    "nrrd with Windows line ends": (".nrrd", NRRD.format("data file: {secret}").replace("\n", "\r\n")),
    "mha": (".mha", META.format("", "{secret}")),
    "mhd": (".mhd", META.format("", "{secret}")),
    "mhd with a list": (".mhd", META.format("", "LIST\n{secret}")),
    "mhd behind a comment": (".mhd", META.format("Comment =\nElementDataFile = LOCAL\n", "{secret}")),
}


def written(kind: str, secret: Path, folder: Path) -> Path:
    suffix, text = DETACHED[kind]
    path = folder / f"detached{suffix}"
    path.write_bytes(text.format(secret=secret).encode())
    return path


@pytest.mark.parametrize("kind", DETACHED)
@pytest.mark.parametrize("alone", [True, False])
def test_rejects_references_to_other_files(kind, alone, secret, tmp_path):
    with pytest.raises(NotUsableError, match=r"another file|same folder|exactly one ElementDataFile"):
        check_before_reading(written(kind, secret, tmp_path), alone=alone)


def test_itk_reads_the_referenced_file_without_the_check(secret, tmp_path):
    image = sitk.ReadImage(str(written("mhd", secret, tmp_path)))
    assert sitk.GetArrayFromImage(image).tobytes() == SECRET


@pytest.mark.parametrize("kind", DETACHED)
def test_rejects_a_label_with_detached_voxels(kind, secret, image_path, tmp_path):
    with pytest.raises(UserError, match="label file cannot be read"):
        read_label(written(kind, secret, tmp_path), image_path, {"lung_tumor": 1})


@pytest.mark.parametrize("name", ["../elsewhere/secret", "elsewhere/secret", "..", "secret%d 1 1 1", ""])
def test_rejects_references_with_a_path(name, secret, tmp_path):
    path = tmp_path / "detached.mhd"
    path.write_text(META.format("", name))
    with pytest.raises(NotUsableError, match="same folder"):
        read_image_file(path)


def test_voxels_may_be_in_a_file_of_the_same_folder(image, tmp_path):
    sitk.WriteImage(image, str(tmp_path / "image.mhd"))
    assert read_image_file(tmp_path / "image.mhd").size == (8, 7, 6)
    voxels = (tmp_path / "image.raw").rename(tmp_path / "other.raw")
    with pytest.raises(NotUsableError, match=r"image\.raw with its voxels is missing"):
        read_image_file(tmp_path / "image.mhd")
    header = NRRD.format("data file: other.raw").replace("uint8", "int16").replace("raw\n", "raw\nendian: little\n", 1)
    (tmp_path / "image.nrrd").write_text(header)
    first = read_image_file(tmp_path / "image.nrrd")
    assert (first.lowest, first.highest) == (-1000, 675)
    voxels.write_bytes(voxels.read_bytes()[::-1])
    assert read_image_file(tmp_path / "image.nrrd").uid != first.uid


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("compressed", [True, False])
def test_accepts_valid_files(image, tmp_path, suffix, compressed):
    path = tmp_path / f"image{suffix}"
    sitk.WriteImage(image, str(path), compressed)
    assert read_image_file(path).size == (8, 7, 6)
    if suffix != ".mhd":
        assert check_before_reading(path, alone=True) == path


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("missing", [20, 100])
def test_truncated_file_is_refused(image, image_path, tmp_path, suffix, compressed, missing):
    """ITK reads a truncated NIfTI without an error."""
    path = tmp_path / f"image{suffix}"
    sitk.WriteImage(image, str(path), compressed)
    voxels = check_before_reading(path, alone=False)
    voxels.write_bytes(voxels.read_bytes()[:-missing])
    with pytest.raises(NotUsableError):
        read_image_file(path)
    with pytest.raises(UserError, match="label file cannot be read"):
        read_label(path, image_path, {"lung_tumor": 1})


def test_damaged_compressed_nifti_is_refused(image, tmp_path):
    path = tmp_path / "image.nii.gz"
    sitk.WriteImage(image, str(path), True)
    content = bytearray(path.read_bytes())
    content[-5] ^= 1  # of the checksum
    path.write_bytes(content)
    with pytest.raises(NotUsableError, match="damaged"):
        read_image_file(path)


def nifti(image: sitk.Image, size: tuple[int, int, int], path: Path) -> bytes:
    sitk.WriteImage(image, str(path))
    header = bytearray(path.read_bytes()[:1024])
    struct.pack_into("<8h", header, 40, 3, *size, 1, 1, 1, 1)
    return bytes(header)


CLAIMS = {
    ".nii": lambda image, path: nifti(image, (2154, 2154, 2154), path),
    ".nii.gz": lambda image, path: gzip.compress(nifti(image, (2154, 2154, 2154), path.with_suffix(""))),
    ".nrrd": lambda image, path: NRRD.replace("8 7 6", "2154 2154 2154").format("space dimension: 3").encode(),
    ".mha": lambda image, path: META.format("", "LOCAL").replace("8 7 6", "2154 2154 2154").encode() + bytes(100),
}


@pytest.mark.parametrize("suffix", CLAIMS)
def test_rejects_a_file_that_claims_more_voxels_than_it_holds(image, tmp_path, suffix):
    path = tmp_path / f"claim{suffix}"
    path.write_bytes(CLAIMS[suffix](image, path))
    with pytest.raises(NotUsableError, match=r"claims .* GiB of voxels, more than its file can hold"):
        read_image_file(path)


def test_size_of_compressed_files_is_bounded(image, tmp_path):
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(gzip.compress(nifti(image, (2154, 2154, 2154), tmp_path / "x.nii")) + bytes(20 << 20))
    with pytest.raises(NotUsableError, match=r"a compressed file may have 2\.0 GiB"):
        read_image_file(path)
