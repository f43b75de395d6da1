"""Images and masks from files into memory, as the network sees them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import SimpleITK as sitk
import torch
from monai.transforms import Compose

from lib.errors import UserError
from lib.transforms import image_transforms
from lib.transforms.axial_field import field_of

_NIFTI = (".nii.gz", ".nii", ".nrrd")


@dataclass(frozen=True)
class Scan:
    """One preprocessed volume.

    Attributes:
        name: File or folder it came from.
        image: Normalised, shape (X, Y, Z), float32; without the padding around an image smaller than the
            field.
        label: Tumour, same shape, bool; all False where there is no mask.
        spacing: Distance of slices in mm.
        usable: Slices with lung and without unmarked tumour.
    """

    name: str
    image: torch.Tensor
    label: torch.Tensor
    spacing: float
    usable: tuple[int, ...]

    @property
    def patient(self) -> str:
        """Of whom it is."""
        return patient_of(self.name)


def is_whole(scan: Scan, info: Mapping[str, Any]) -> bool:
    """A whole scan fills at least half of the field; less is a crop."""
    return min(scan.image.shape[:2]) >= min(info["preprocessing"]["size"]) / 2


def patient_of(name: str) -> str:
    """What stands before the first underscore of a name: nodules of one patient stay together."""
    return name.split("_")[0]


def find_pairs(images: Path, masks: Path | None) -> list[tuple[Path, Path | None]]:
    """Images with their masks: a folder of volumes and one of masks under the same names, or a DICOM series.

    Args:
        images: Folder of .nii, .nii.gz or .nrrd files, or folder of one DICOM series (subfolders allowed).
        masks: Folder of masks, or for a DICOM series one mask file, or None where there is no tumour.
    """
    if not images.exists():
        raise UserError(f"There is no {images}.")
    volumes = sorted(path for path in images.iterdir() if path.name.endswith(_NIFTI)) if images.is_dir() else [images]
    if not volumes:
        if masks is not None and not masks.is_file():
            raise UserError(f"{images} holds no volumes; as a DICOM series it needs one mask file, not {masks}.")
        return [(images, masks)]
    if masks is None:
        return [(path, None) for path in volumes]
    pairs = [(path, masks / path.name) for path in volumes]
    missing = [path.name for path, mask in pairs if not mask.is_file()]
    if missing:
        raise UserError(f"{len(missing)} images of {images} have no mask in {masks}, the first is {missing[0]}.")
    return pairs


def find_cases(images: Sequence[Path], masks: Sequence[Path], cache: Path) -> list[tuple[str, Path, Path]]:
    """Name, volume and mask of each case.

    Args:
        images: Folders of volumes, or of one DICOM series each.
        masks: For each of them a folder of masks under the same names, or one mask file for a DICOM series.
        cache: Folder for the volumes made of DICOM series.

    Raises:
        UserError: Images or masks are missing.
    """
    if len(images) != len(masks):
        raise UserError(f"Give as many folders of masks as of images: got {len(masks)} for {len(images)}.")
    return [
        (image.name.split(".nii")[0], dicom_volume(image, cache)[0] if image.is_dir() else image, mask)
        for folder, truth in zip(images, masks, strict=True)
        for image, mask in find_pairs(folder, truth)
    ]


def load_scan(image: Path, mask: Path | None, preprocessing: Mapping[str, Any], cache: Path) -> Scan:
    """Run the transforms of inference on one volume, but for the neighbouring slices.

    Args:
        image: Volume, or folder of one DICOM series.
        mask: Volume on the same grid, or None.
        preprocessing: Section of info.yaml.
        cache: Folder for the volumes made of DICOM series.
    """
    name = image.name.split(".nii")[0].split(".nrrd")[0]
    unmarked: set[int] = set()
    files = {"image": image}
    if image.is_dir():
        files["image"], unmarked = dicom_volume(image, cache)
    if mask is not None:
        files["label"] = mask
    data = Compose(image_transforms(preprocessing, keys=tuple(files), neighbours=False))(files)
    volume = data["image"][0]
    label = data["label"][0].as_tensor() > 0.5 if mask is not None else torch.zeros(volume.shape, dtype=torch.bool)
    window = field_of(data["image"]).filled
    return Scan(
        name=name,
        image=volume.as_tensor()[window].contiguous(),
        label=label[window].contiguous(),
        spacing=float(data["image"].pixdim[2]),
        usable=tuple(z for z in range(*data["lung_slices"]) if z not in unmarked),
    )


def dicom_volume(folder: Path, cache: Path) -> tuple[Path, set[int]]:
    """Write the largest DICOM series below a folder as a volume, once.

    Returns:
        The .nrrd file in ``cache``, and the slices not to be used as free of tumour: those for which the
        folder beside it, ``Annotation``, has a file named by the SOP Instance UID (as Lung-PET-CT-Dx does),
        and their neighbours.
    """
    series = [
        sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(place), uid)
        for place in (folder, *(path for path in folder.rglob("*") if path.is_dir()))
        for uid in sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(place))
    ]
    if not series:
        raise UserError(f"{folder} holds neither volumes (.nii, .nii.gz, .nrrd) nor a DICOM series.")
    files = max(series, key=len)
    target = cache / f"{folder.name}.nrrd"
    if not target.exists():
        cache.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(sitk.ReadImage(files), str(target))
    marked = {path.stem for path in (folder.parent / "Annotation").glob("*.xml")}
    uids = [pydicom.dcmread(file, specific_tags=["SOPInstanceUID"]).get("SOPInstanceUID") for file in files]
    return target, {z + step for z, uid in enumerate(uids) if uid in marked for step in (-1, 0, 1)}
