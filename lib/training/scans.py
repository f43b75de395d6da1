"""Images and masks preprocessed for the network and held in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from monai.transforms import Compose

from lib.datastore.series_folder import largest_series_volume
from lib.dicomweb.dicom_file import NotUsableError
from lib.dicomweb.image_header import check_before_reading
from lib.errors import UserError
from lib.training.box_annotations import slices_with_boxes
from lib.transforms import image_transforms
from lib.transforms.axial_field import field_of
from lib.transforms.reader_mean import consensus

_NIFTI = (".nii.gz", ".nii", ".nrrd")


class LabelledImage(NamedTuple):
    """An image with its mask.

    Attributes:
        name: File name, or for a DICOM folder the shortest unambiguous end of its path.
        image: Volume.
        mask: Volume on the same grid.
        patient: PatientID of a DICOM series, its name if it has none; of a file derived from its name.
        is_dicom: Whether it is a DICOM series.
    """

    name: str
    image: Path
    mask: Path
    patient: str
    is_dicom: bool


@dataclass(frozen=True)
class Scan:
    """A preprocessed volume.

    Attributes:
        name: Source file or folder.
        image: Normalised, shape (X, Y, Z), float32; without the padding around an image smaller than the field.
        target: Share of the readers who marked a voxel as tumour, same shape, float32, 0 to 1; 0 or 1 with a single
            mask, 0 without one.
        spacing: Distance of slices in mm.
        usable: Slices with lung and without unlabelled tumour.
        patient_id: PatientID of a DICOM series, or its name if it has none; empty for a file (see ``patient``).
    """

    name: str
    image: torch.Tensor
    target: torch.Tensor
    spacing: float
    usable: tuple[int, ...]
    patient_id: str = ""

    @cached_property
    def is_binary(self) -> bool:
        """Whether the target is 0 or 1 everywhere, as that of a single mask."""
        return bool(((self.target == 0) | (self.target == 1)).all())

    @property
    def label(self) -> torch.Tensor:
        """Consensus: the voxels that at least half of the readers marked, shape (X, Y, Z), bool."""
        return consensus(self.target)

    @property
    def patient(self) -> str:
        """PatientID, or the patient derived from the name."""
        return self.patient_id or patient_from_file_name(self.name)


def is_whole(scan: Scan, info: Mapping[str, Any]) -> bool:
    """Return whether a scan fills at least half of the field; smaller ones are crops."""
    return min(scan.image.shape[:2]) >= min(info["preprocessing"]["size"]) / 2


def patient_from_file_name(name: str) -> str:
    """Return the part of a name before the first underscore, for files without PatientID such as NIfTI.

    Crops around several nodules of one patient, ``<patient>_<nodule>.nii.gz``, so stay together.
    """
    return name.split("_")[0]


def find_pairs(images: Path, masks: Path | None) -> list[tuple[Path, Path | None]]:
    """Find the images of a folder and their masks.

    Args:
        images: Folder of .nii, .nii.gz or .nrrd files, or folder of one DICOM series (subfolders allowed).
        masks: Folder of masks with the same names, or for a DICOM series one mask file, or None without tumour.

    Raises:
        UserError: Images or masks are missing, or a file is damaged.
    """
    pairs = _pairs(images, masks)
    for path in (path for pair in pairs for path in pair if path and path.is_file()):
        try:
            check_before_reading(path, alone=False)
        except NotUsableError as error:
            raise UserError(f"{path} cannot be used: {error}.") from error
    return pairs


def _pairs(images: Path, masks: Path | None) -> list[tuple[Path, Path | None]]:
    for path in (images, masks):
        if path is not None and not path.exists():
            raise UserError(f"{path} does not exist.")
    volumes = sorted(path for path in images.iterdir() if path.name.endswith(_NIFTI)) if images.is_dir() else [images]
    if not volumes:
        if masks is not None and not masks.is_file():
            raise UserError(f"{images} contains no volumes; as a DICOM series it needs one mask file, not {masks}.")
        return [(images, masks)]
    if masks is None:
        return [(path, None) for path in volumes]
    missing = [path.name for path in volumes if not (masks / path.name).is_file()]
    if missing:
        raise UserError(f"{len(missing)} images of {images} have no mask in {masks}, the first is {missing[0]}.")
    return [(path, masks / path.name) for path in volumes]


def find_all_pairs(images: Sequence[Path], masks: Sequence[Path]) -> list[tuple[Path, Path | None]]:
    """Find the images of several folders and their masks.

    Args:
        images: Folders of volumes, or of one DICOM series each.
        masks: For each of them a folder of masks with the same names, or one mask file for a DICOM series.

    Raises:
        UserError: Images or masks are missing.
    """
    if len(images) != len(masks):
        raise UserError(f"Give one --masks per --images: got {len(masks)} for {len(images)}.")
    return [pair for folder, truth in zip(images, masks, strict=True) for pair in find_pairs(folder, truth)]


def case_names(images: Sequence[Path]) -> list[str]:
    """Return the names of files, and for folders the shortest unambiguous ends of their paths.

    Example:
        >>> case_names([Path("crops/P1_R.nii.gz")])
        ['P1_R']
    """
    folders = {path.resolve() for path in images if path.is_dir()}

    def name(path: Path) -> str:
        if not path.is_dir():
            return path.name.split(".nii")[0].split(".nrrd")[0]
        parts = path.resolve().parts
        ends = (parts[-count:] for count in range(1, len(parts) + 1))
        return "-".join(next(end for end in ends if sum(one.parts[-len(end) :] == end for one in folders) == 1))

    return [name(path) for path in images]


def find_cases(images: Sequence[Path], masks: Sequence[Path], cache: Path) -> list[LabelledImage]:
    """Find images and their masks, and convert DICOM series to volumes.

    Args:
        images: Folders of volumes, or of one DICOM series each.
        masks: For each of them a folder of masks with the same names, or one mask file for a DICOM series.
        cache: Folder for the volumes of DICOM series.

    Raises:
        UserError: Images or masks are missing.
    """
    pairs = find_all_pairs(images, masks)
    cases = []
    for name, (image, mask) in zip(case_names([image for image, _ in pairs]), pairs, strict=True):
        assert mask is not None
        if image.is_dir():
            volume = largest_series_volume(image, cache)
            cases.append(LabelledImage(name, volume.path, mask, volume.patient_id or name, True))
        else:
            cases.append(LabelledImage(name, image, mask, patient_from_file_name(name), False))
    return cases


def load_scan(
    image: Path, mask: Path | None, preprocessing: Mapping[str, Any], cache: Path, name: str | None = None
) -> Scan:
    """Run the preprocessing of inference on one volume, without stacking adjacent slices.

    Args:
        image: Volume, or folder of one DICOM series.
        mask: Volume on the same grid, or None.
        preprocessing: Section ``preprocessing`` of info.yaml.
        cache: Folder for the volumes of DICOM series.
        name: Name from :func:`case_names`; None derives it from ``image`` alone.
    """
    name = name or case_names([image])[0]
    unmarked: frozenset[int] = frozenset()
    patient, files = "", {"image": image}
    if image.is_dir():
        dicom = largest_series_volume(image, cache)
        files["image"], patient = dicom.path, dicom.patient_id or name
        unmarked = slices_with_boxes(image, dicom.sop_uids)
    if mask is not None:
        files["label"] = mask
    data = Compose(image_transforms(preprocessing, keys=tuple(files), neighbours=False))(files)
    volume = data["image"][0]
    target = data["label"][0].as_tensor().float().clamp(0, 1) if mask is not None else torch.zeros(volume.shape)
    window = field_of(data["image"]).filled
    return Scan(
        name=name,
        image=volume.as_tensor()[window].contiguous(),
        target=target[window].contiguous(),
        spacing=float(data["image"].pixdim[2]),
        usable=tuple(z for z in range(*data["lung_slices"]) if z not in unmarked),
        patient_id=patient,
    )
