"""NIfTI, NRRD and MetaImage files that lie beside or instead of DICOM."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import SimpleITK as sitk
from pydicom.uid import generate_uid

from lib.dicomweb.dicom_file import NotUsableError
from lib.dicomweb.image_header import SUFFIXES, check_image_header
from lib.dicomweb.nifti_place import two_places

_DETACHED = (".raw", ".zraw")  # voxels of a .mhd
_CHUNK = 1 << 20
_LEAST_RANGE_HU = 100.0  # with less it is a mask, or scaled to 0 ... 1


@dataclass(frozen=True)
class ImageFile:
    """An image file as the index knows it.

    Attributes:
        path: Where it is.
        uid: Made of its content: it stays the same wherever the file is moved.
        size: Voxels along column, row and slice index.
        spacing: Of voxels, mm.
        lowest, highest: Of its values.
        warnings: What to beware of, a sentence each.
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
        """File name without what tells its format."""
        return next(self.path.name[: -len(s)] for s in sorted(SUFFIXES, key=len)[::-1] if _ends(self.path, s))

    def to_json(self) -> str:
        """All but the path."""
        return json.dumps({name: value for name, value in asdict(self).items() if name != "path"})

    @classmethod
    def from_json(cls, path: str, text: str) -> ImageFile:
        """What :meth:`to_json` wrote."""
        fields = json.loads(text)
        lists = {name: tuple(fields[name]) for name in ("size", "spacing", "warnings")}
        return cls(**fields | {"path": Path(path), **lists})


def is_image_file(path: Path) -> bool:
    """Tell by its name whether a file is NIfTI, NRRD or MetaImage."""
    return any(_ends(path, suffix) for suffix in SUFFIXES)


def is_part_of_image_file(path: Path) -> bool:
    """Tell whether a file holds the voxels of a MetaImage header beside it."""
    return any(_ends(path, suffix) for suffix in _DETACHED) and path.with_suffix(".mhd").exists()


def read_image_file(path: Path) -> ImageFile:
    """Read an image file once, for what the index keeps of it.

    Raises:
        NotUsableError: It cannot be read, or is no volume in HU.
    """
    voxels = check_image_header(path, alone=False)
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise NotUsableError(f"damaged, or no image of the kind that its name says ({reason})") from error
    size, spacing, values = image.GetSize(), image.GetSpacing(), sitk.GetArrayViewFromImage(image)
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise NotUsableError(f"an image file with {image.GetNumberOfComponentsPerPixel()} values for each voxel, no HU")
    if len([length for length in size if length > 1]) != 3 or min(size[:3]) == 1:
        raise NotUsableError(f"an image file of {len(size)} dimensions, no volume")
    lowest, highest = float(values.min()), float(values.max())
    if highest - lowest < _LEAST_RANGE_HU or (lowest >= 0 and highest <= 255):
        raise NotUsableError("an image file of a mask or a picture, whose values are no HU")
    uid = generate_uid(entropy_srcs=["image", _digest(path, voxels)])
    place = two_places(path, image) if _ends(path, ".nii") or _ends(path, ".nii.gz") else None
    return ImageFile(path, uid, size, spacing, lowest, highest, (place,) if place else ())


def _digest(path: Path, voxels: Path) -> str:
    digest = hashlib.sha256()
    for part in dict.fromkeys((path, voxels)):
        with part.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def _ends(path: Path, suffix: str) -> bool:
    return path.name.lower().endswith(suffix)
