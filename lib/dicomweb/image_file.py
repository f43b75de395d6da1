"""NIfTI, NRRD and MetaImage files in the folder of studies."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import SimpleITK as sitk
from pydicom.uid import generate_uid

from lib.dicomweb.dicom_file import NotUsableError
from lib.dicomweb.image_header import SUFFIXES, check_before_reading
from lib.dicomweb.nifti_transforms import qform_sform_mismatch

_VOXEL_FILES = (".raw", ".zraw")  # of a .mhd
_CHUNK = 1 << 20
_MIN_RANGE_HU = 100.0  # a smaller range indicates a mask, or values scaled to 0 ... 1


@dataclass(frozen=True)
class ImageFile:
    """Image file in the index.

    Attributes:
        path: Path of the file.
        uid: UID derived from the content, so that it does not change when the file is moved.
        size: Number of voxels (columns, rows, slices).
        spacing: Voxel spacing (columns, rows, slices), mm.
        lowest, highest: Range of the values.
        warnings: Warnings for the user.
    """

    path: Path
    uid: str
    size: tuple[int, ...]
    spacing: tuple[float, ...]
    lowest: float
    highest: float
    warnings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """File name without the suffix of its format."""
        return next(self.path.name[: -len(s)] for s in sorted(SUFFIXES, key=len)[::-1] if _ends(self.path, s))

    def to_json(self) -> str:
        """Return all attributes but the path as JSON text."""
        return json.dumps({name: value for name, value in asdict(self).items() if name != "path"})

    @classmethod
    def from_json(cls, path: str, text: str) -> ImageFile:
        """Parse the result of :meth:`to_json`."""
        fields = json.loads(text)
        lists = {name: tuple(fields[name]) for name in ("size", "spacing", "warnings")}
        return cls(**fields | {"path": Path(path), **lists})


def is_image_file(path: Path) -> bool:
    """Return whether a file is NIfTI, NRRD or MetaImage by its name."""
    return any(_ends(path, suffix) for suffix in SUFFIXES)


def is_part_of_image_file(path: Path) -> bool:
    """Return whether a file has the voxels of a MetaImage header in the same folder."""
    return any(_ends(path, suffix) for suffix in _VOXEL_FILES) and path.with_suffix(".mhd").exists()


def read_image_file(path: Path) -> ImageFile:
    """Read the attributes of an image file for the index.

    Raises:
        NotUsableError: The file cannot be read, or is not a volume in HU.
    """
    voxels = check_before_reading(path, alone=False)
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise NotUsableError(f"damaged, or not of the format of its name ({reason})") from error
    size, spacing, values = image.GetSize(), image.GetSpacing(), sitk.GetArrayViewFromImage(image)
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise NotUsableError(f"an image file with {image.GetNumberOfComponentsPerPixel()} values per voxel, not HU")
    if len([length for length in size if length > 1]) != 3 or min(size[:3]) == 1:
        raise NotUsableError(f"an image file with {len(size)} dimensions, not a volume")
    lowest, highest = float(values.min()), float(values.max())
    if highest - lowest < _MIN_RANGE_HU or (lowest >= 0 and highest <= 255):
        raise NotUsableError("an image file of a mask or picture, whose values are not HU")
    uid = generate_uid(entropy_srcs=["image", _digest(path, voxels)])
    warning = qform_sform_mismatch(path, image) if _ends(path, ".nii") or _ends(path, ".nii.gz") else None
    return ImageFile(path, uid, size, spacing, lowest, highest, (warning,) if warning else ())


def _digest(path: Path, voxels: Path) -> str:
    digest = hashlib.sha256()
    for part in dict.fromkeys((path, voxels)):
        with part.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def _ends(path: Path, suffix: str) -> bool:
    return path.name.lower().endswith(suffix)
