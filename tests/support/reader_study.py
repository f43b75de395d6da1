"""A study with the labels of its readers in a workspace, without a server."""

from pathlib import Path

import nibabel
import numpy as np

from lib.datastore.label_store import LabelStore
from lib.reading.reading_list import StudyPlan
from lib.reading.stored_readings import StudyLabels, reading_tag
from lib.reading.study_file import read_study

TIMING = {
    "opened": "2026-03-01T09:00:00.000Z",
    "submitted": "2026-03-01T09:04:10.000Z",
    "active_seconds": 181.5,
    "pause_seconds": 60,
    "clicks": 3,
    "strokes": 12,
    "undos": 1,
}


def write_study_file(folder: Path, readers, cases, more: str = "") -> Path:
    """Write a study file."""
    name = "" if more.startswith("name:") else "name: nodules\n"
    text = f"{name}readers: {[*readers]}\ncases: {[*cases]}\n{more}\n"
    path = folder / "study.yaml"
    path.write_text(text)
    return path


def study_labels(file: Path, workspace: Path) -> StudyLabels:
    """Return the labels of a study; the workspace is made if it is missing."""
    return StudyLabels(LabelStore(workspace / "labels"), StudyPlan(read_study(file)))


def submit(labels: StudyLabels, reader: str, case: str, mask: np.ndarray, affine=None, session=1, **info) -> None:
    """Store the label (X, Y, Z) of a reader as the server does."""
    image = nibabel.Nifti1Image(mask.astype(np.uint8), np.eye(4) if affine is None else affine)
    stored = {"user": reader, **info}
    labels.labels.save(
        case, reading_tag(labels.plan.study.name, reader, session), lambda path: nibabel.save(image, path), stored
    )
