"""Tiny sets in the layouts of the public ones, and what came of importing them."""

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
    """``run_import(kind, source, …, status=0)``: what the command said."""

    def call(*arguments: object, status: int = 0) -> str:
        returned = main(["import", *map(str, arguments)])
        said = "".join(capsys.readouterr())
        assert returned == status, said
        assert "Traceback" not in said
        return said

    return call


def opened(studies: Path, workspace: Path) -> SeriesDatastore:
    """The datastore as a training process opens it: on what is indexed already."""
    return open_datastore(Settings.from_conf(str(studies), {"workspace": str(workspace)}))


def labels_of(studies: Path, workspace: Path) -> dict[str, dict]:
    """The labelled cases by their PatientID: the pair for training, and ``info`` of the label."""
    datastore = opened(studies, workspace)
    pairs = datastore.datalist()
    return {pair["patient_id"]: {**pair, "info": datastore.get_label_info(pair["image_id"], "final")} for pair in pairs}


def marked_places(path: Path, value: int = 1) -> np.ndarray:
    """Where a label marks voxels, as NiBabel reads it: (n, 3), LPS in mm, sorted."""
    image = nibabel.load(path)
    index = np.argwhere(np.asarray(image.dataobj) == value)
    places = nibabel.affines.apply_affine(image.affine, index) * (-1, -1, 1)
    return np.array(sorted(places.round(3).tolist())).reshape(-1, 3)


def content(*folders: Path) -> dict[Path, bytes | None]:
    """Every file below some folders with its bytes, and every folder."""
    gc.collect()  # closes the index of a command that ran in this process, which folds its log into it
    return {
        path: path.read_bytes() if path.is_file() else None
        for folder in folders
        for path in [folder, *folder.rglob("*")]
        if path.exists()
    }


def ct(seed: int, shape: tuple[int, int, int] = (6, 20, 24), flipped: bool = False) -> sitk.Image:
    """A few slices in HU, unevenly shaped and off the origin; ``flipped``: rows and columns run the other way."""
    image = sitk.GetImageFromArray(np.random.default_rng(seed).integers(-1000, 400, shape).astype(np.int16))
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((31, -47, 105))
    if flipped:
        image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    return image


def corner(like: sitk.Image, length: int = 4, value: int = 1) -> sitk.Image:
    """An L of voxels that no mirror or turn maps onto itself."""
    voxels = np.zeros(like.GetSize()[::-1], np.uint8)
    voxels[1, 5, 3 : 3 + length] = value
    voxels[1, 5:8, 3] = value
    voxels[1:4, 5, 3] = value
    mask = sitk.GetImageFromArray(voxels)
    mask.CopyInformation(like)
    return mask


def write_msd(root: Path, count: int = 3, labels: dict[str, str] | None = None, value: int = 1) -> Path:
    """A set as ``Task06_Lung.tar`` unpacks, macOS leaves included; the last image is flipped."""
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
