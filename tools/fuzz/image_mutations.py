"""Mutated image files (NIfTI, NRRD, MetaImage, raw), each with one error, as labels, uploads and studies."""

from __future__ import annotations

import gzip
import re
import struct
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from tools.fuzz import bombs
from tools.fuzz.byte_damage import DAMAGES
from tools.fuzz.odd_values import NUMBERS, TEXTS, one_of

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".seg.nrrd", ".mha", ".bin")
_TYPES = (
    sitk.sitkInt8,
    sitk.sitkUInt16,
    sitk.sitkInt32,
    sitk.sitkUInt64,
    sitk.sitkFloat32,
    sitk.sitkFloat64,
    sitk.sitkVectorUInt8,
    sitk.sitkVectorFloat32,
    sitk.sitkComplexFloat32,
)
_DIM, _DATATYPE, _PIXDIM, _VOX_OFFSET, _FORMS = 40, 70, 76, 108, 252  # places in a NIfTI-1 header
_NRRD_LINES = (
    "sizes: 2154 2154 2154",
    "sizes: 100000 100000 1",
    "sizes: -1 5 5",
    "sizes: 0 0 0",
    "sizes: 1",
    "type: double",
    "type: block",
    "dimension: 16",
    "dimension: 99999",
    "encoding: hex",
    "encoding: gzip",
    "encoding: bzip2",
    "endian: big",
    "data file: /etc/passwd",
    "data file: LIST",
    "data file: x%d.raw 1 999999999 1",
    "byte skip: -1",
    "line skip: 1000000",
    "space directions: (nan,0,0) (0,nan,0) (0,0,nan)",
    "space directions: (0,0,0) (0,0,0) (0,0,0)",
    "space origin: (1e300,1e300,1e300)",
    "space: 3D-right-handed",
    "kinds: domain domain list",
)
_META_LINES = (
    "DimSize = 2154 2154 2154",
    "DimSize = -1 2 2",
    "NDims = 10",
    "ElementType = MET_DOUBLE_ARRAY",
    "ElementDataFile = /etc/passwd",
    "ElementDataFile = LIST",
    "ElementDataFile = x%03d.raw 1 99999999 1",
    "CompressedData = True",
    "ElementNumberOfChannels = 65535",
    "TransformMatrix = 0 0 0 0 0 0 0 0 0",
    "ElementSpacing = nan nan nan",
    "HeaderSize = -1",
    "ElementSpacing = 0 0 0",
)


def mutated_image(grid: sitk.Image, rng: np.random.Generator) -> tuple[str, str, bytes]:
    """Return an image file, valid or mutated, on ``grid`` or another grid.

    Args:
        grid: Image with size, spacing, origin and direction.
        rng: Random generator.

    Returns:
        Description of the mutation, suffix and content of the file.
    """
    suffix = one_of(rng, SUFFIXES)
    if rng.random() < 0.35:
        name, image = _wrong_image(grid, rng)
        return name, suffix, encoded(image, suffix)
    content = encoded(_good(grid, rng), suffix)
    if rng.random() < 0.35 or suffix == ".bin":
        damage = one_of(rng, DAMAGES)
        if suffix == ".nii.gz" and rng.random() < 0.5:
            return f"{damage.__name__} inside", suffix, gzip.compress(damage(gzip.decompress(content), rng), mtime=0)
        return damage.__name__, suffix, damage(content, rng)
    if suffix.startswith(".nii"):
        return _wrong_nifti(content, suffix, rng)
    lines, assignment = (_META_LINES, " = ") if suffix == ".mha" else (_NRRD_LINES, ": ")
    return _wrong_line(content, suffix, one_of(rng, lines), assignment)


def encoded(image: sitk.Image, suffix: str) -> bytes:
    """Return the content of an image file in the format of ``suffix``; ``.bin`` has the voxels only."""
    if suffix == ".bin":
        return sitk.GetArrayFromImage(image).tobytes()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"image{suffix}"
        try:
            sitk.WriteImage(image, str(path))
        except RuntimeError:  # not supported by this format
            return sitk.GetArrayFromImage(image).tobytes()
        return path.read_bytes()


def _good(grid: sitk.Image, rng: np.random.Generator) -> sitk.Image:
    label = sitk.GetImageFromArray((rng.random(grid.GetSize()[::-1]) < 0.1).astype(np.uint8))
    label.CopyInformation(grid)
    return label


def _wrong_image(grid: sitk.Image, rng: np.random.Generator) -> tuple[str, sitk.Image]:
    """Return a valid image that is not a label of this image, and its description."""
    label = _good(grid, rng)
    kind = one_of(rng, ["type", "values", "nan", "shifted", "larger", "smaller", "flat", "four", "segments", "spacing"])
    if kind == "type":
        label = sitk.Cast(label, one_of(rng, _TYPES))
    elif kind == "values":
        voxels = sitk.GetArrayFromImage(label).astype(np.int64) * one_of(rng, [2, 255, -1, 2**40])
        label = _of(voxels, label)
    elif kind == "nan":
        voxels = sitk.GetArrayFromImage(label).astype(np.float32)
        voxels[voxels > 0] = one_of(rng, [np.nan, np.inf, -np.inf, 0.5])
        label = _of(voxels, label)
    elif kind == "shifted":
        label.SetOrigin((np.array(label.GetOrigin()) + rng.normal(0, 50, 3)).tolist())
    elif kind == "larger":
        label = sitk.ConstantPad(label, [5, 5, 5], [5, 5, 5])
    elif kind == "smaller":
        label = label[3:-3, 3:-3, 2:-2]
    elif kind == "flat":
        label = label[:, :, 0]
    elif kind == "four":
        label = sitk.JoinSeries([label] * int(rng.integers(1, 4)))
    elif kind == "segments":
        for key in ("Name", "Layer", "LabelValue", "ID"):
            value = one_of(rng, TEXTS) if rng.random() < 0.5 else str(one_of(rng, NUMBERS))
            label.SetMetaData(f"Segment{rng.integers(2)}_{key}", value.encode("ascii", "replace").decode())
    else:
        label.SetSpacing([float(rng.choice([1e-9, 1e9, 3.3])) for _ in range(3)])
    return f"another {kind}", label


def _of(voxels: np.ndarray, like: sitk.Image) -> sitk.Image:
    image = sitk.GetImageFromArray(voxels)
    image.CopyInformation(like)
    return image


def _wrong_nifti(content: bytes, suffix: str, rng: np.random.Generator) -> tuple[str, str, bytes]:
    zipped = suffix == ".nii.gz"
    plain = bytearray(gzip.decompress(content) if zipped else content)
    kind = one_of(rng, ["dims", "datatype", "pixdim", "offset", "forms", "size", "claim", "bomb", "half a gzip"])
    if kind == "dims":
        struct.pack_into("<8h", plain, _DIM, *(one_of(rng, [0, -1, 1, 3, 4, 7, 8, 32767, -32768]) for _ in range(8)))
    elif kind == "datatype":
        struct.pack_into("<2h", plain, _DATATYPE, one_of(rng, [0, 1, 2, 16, 32, 128, 1536, 2304, -1, 9999]), 8)
    elif kind == "pixdim":
        struct.pack_into(
            "<8f", plain, _PIXDIM, *(one_of(rng, [0.0, -1.0, np.nan, np.inf, 1e-30, 1e30]) for _ in range(8))
        )
    elif kind == "offset":
        struct.pack_into("<f", plain, _VOX_OFFSET, one_of(rng, [0.0, -1.0, 1e9, np.nan, 1e30]))
    elif kind == "forms":
        struct.pack_into("<2h18f", plain, _FORMS, 1, 1, *rng.choice([0.0, 1.0, np.nan, np.inf, 1e20], 18))
    elif kind == "size":
        struct.pack_into("<i", plain, 0, one_of(rng, [0, 540, -1, 2**31 - 1]))
    elif kind in ("claim", "bomb"):
        struct.pack_into("<8h", plain, _DIM, 3, 2154, 2154, 2154, 1, 1, 1, 1)  # 10 GB of bytes
        if kind == "bomb" and zipped:
            return kind, suffix, bombs.gzip(bytes(plain[:352]), int(one_of(rng, [1000, 10_240])))
        plain = plain[:1024]
    elif zipped:
        return kind, suffix, content[: len(content) // 2]
    return kind, suffix, gzip.compress(bytes(plain), mtime=0) if zipped else bytes(plain)


def _wrong_line(content: bytes, suffix: str, line: str, assignment: str) -> tuple[str, str, bytes]:
    """Replace the header line of the same name by ``line``, or add it."""
    name = line.partition(assignment)[0]
    former = re.search(rf"^{name}{assignment}.*$".encode(), content, re.MULTILINE)
    if former:
        changed = content[: former.start()] + line.encode() + content[former.end() :]
    else:
        first = content.find(b"\n") + 1
        changed = content[:first] + line.encode() + b"\n" + content[first:]
    return line, suffix, changed
