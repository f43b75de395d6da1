"""Tiny data sets in the layouts of public ones, and checks of their import."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from lib.cli import main
from lib.datastore.opening import open_datastore
from lib.datastore.series_datastore import SeriesDatastore
from lib.settings import Settings

Call = Callable[..., str]


@pytest.fixture
def run_import(capsys: pytest.CaptureFixture[str]) -> Call:
    """Return ``run_import(kind, source, …, status=0)``, which returns the output of the command."""

    def call(*arguments: object, status: int = 0) -> str:
        returned = main(["import", *map(str, arguments)])
        said = "".join(capsys.readouterr())
        assert returned == status, said
        assert "Traceback" not in said
        return said

    return call


def open_workspace(studies: Path, workspace: Path) -> SeriesDatastore:
    """Open the datastore like a training process does, without scanning."""
    return open_datastore(Settings.from_conf(str(studies), {"workspace": str(workspace)}))


def labelled_cases(studies: Path, workspace: Path) -> dict[str, dict]:
    """Return the labelled cases by PatientID (of image files without folders): training pair, ``info`` of the label."""
    datastore = open_workspace(studies, workspace)
    pairs = datastore.datalist()
    return {
        Path(pair["patient_id"]).name: {**pair, "info": datastore.get_label_info(pair["image_id"], "final")}
        for pair in pairs
    }


def marked_points(path: Path, value: int = 1) -> np.ndarray:
    """Return the voxels of a label as read by NiBabel: sorted LPS points in mm, shape (n, 3)."""
    image = nibabel.load(path)
    index = np.argwhere(np.asarray(image.dataobj) == value)
    places = nibabel.affines.apply_affine(image.affine, index) * (-1, -1, 1)
    return np.array(sorted(places.round(3).tolist())).reshape(-1, 3)


def content(*folders: Path) -> dict[Path, bytes | None]:
    """Return every file below some folders with its bytes, and every folder with None."""
    gc.collect()  # closes the index of a command run in this process, which checkpoints its WAL
    return {
        path: path.read_bytes() if path.is_file() else None
        for folder in folders
        for path in [folder, *folder.rglob("*")]
        if path.exists()
    }


def ct(seed: int, shape: tuple[int, int, int] = (6, 20, 24), flipped: bool = False) -> sitk.Image:
    """Return a few CT slices in HU, anisotropic and off the origin; ``flipped`` reverses rows and columns."""
    image = sitk.GetImageFromArray(np.random.default_rng(seed).integers(-1000, 400, shape).astype(np.int16))
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((31, -47, 105))
    if flipped:
        image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    return image


def corner(like: sitk.Image, length: int = 4, value: int = 1) -> sitk.Image:
    """Return an L-shaped mask without any mirror or rotation symmetry."""
    voxels = np.zeros(like.GetSize()[::-1], np.uint8)
    voxels[1, 5, 3 : 3 + length] = value
    voxels[1, 5:8, 3] = value
    voxels[1:4, 5, 3] = value
    mask = sitk.GetImageFromArray(voxels)
    mask.CopyInformation(like)
    return mask


def write_msd(root: Path, count: int = 3, labels: dict[str, str] | None = None, value: int = 1) -> Path:
    """Write a data set as unpacked from ``Task06_Lung.tar``, with macOS resource forks; the last image is flipped."""
    for folder in ("imagesTr", "labelsTr", "imagesTs"):
        (root / folder).mkdir(parents=True)
    for number in range(1, count + 1):
        image = ct(number, flipped=number == count)
        sitk.WriteImage(image, str(root / f"imagesTr/lung_{number:03}.nii.gz"))
        sitk.WriteImage(corner(image, number + 3, value), str(root / f"labelsTr/lung_{number:03}.nii.gz"))
        (root / f"imagesTr/._lung_{number:03}.nii.gz").write_bytes(b"Mac OS X")
        (root / f"labelsTr/._lung_{number:03}.nii.gz").write_bytes(b"Mac OS X")
    sitk.WriteImage(ct(90), str(root / "imagesTs/lung_002.nii.gz"))
    training = [{key: f"./{key}sTr/lung_{n:03}.nii.gz" for key in ("image", "label")} for n in range(1, count + 1)]
    described = {
        "name": "Lung",
        "modality": {"0": "CT"},
        "labels": labels or {"0": "background", "1": "cancer"},
        "numTraining": count,
        "numTest": 1,
        "training": training,
        "test": ["./imagesTs/lung_002.nii.gz"],
    }
    (root / "dataset.json").write_text(json.dumps(described))
    return root
