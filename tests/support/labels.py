"""Good and bad training labels, and the patient held out by the gate."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from lib.publishing.hold_out import HoldOut
from lib.settings import load_info

PATIENTS = ("LUNG-001", "LUNG-002", "LUNG-003", "LUNG-006")


def held_out_patient(folder: Path) -> str:
    """Return the one of `PATIENTS` that the app holds out."""
    options = load_info()["config"]["train"]
    rule = HoldOut(folder / "hold_out.json", options["val_split"], options["hold_out_from_patients"])
    (patient,) = rule.patients(PATIENTS)
    return patient


def noise(truth: Path, path: Path) -> Path:
    """Write a label of random voxels on the grid of ``truth``."""
    image = sitk.ReadImage(str(truth))
    voxels = np.random.default_rng(0).random(sitk.GetArrayViewFromImage(image).shape) < 0.3
    label = sitk.GetImageFromArray(voxels.astype(np.uint8))
    label.CopyInformation(image)
    sitk.WriteImage(label, str(path), True)
    return path
