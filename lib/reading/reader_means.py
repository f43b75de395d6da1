"""Cases of a training that are learned as the mean of the readers of a study."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from lib.datastore.series_datastore import SeriesDatastore
from lib.errors import UserError
from lib.geometry.voxel_grid import VoxelGrid
from lib.reading.conclusions import conclusion_of, decision_of
from lib.reading.consensus import ConsensusMethod, consensus_label
from lib.reading.reading_list import StudyPlan
from lib.reading.stored_readings import StoredReading, StudyLabels
from lib.reading.study_file import read_study
from lib.storage.atomic import write_atomically
from lib.storage.integrity import sha256_of

logger = logging.getLogger(__name__)

TARGET = "target"  # of a case: file with the masks of the readers along the fourth axis, whose mean is learned
_FINAL = "final"

Cases = list[dict[str, Any]]


def training_cases(datastore: SeriesDatastore, study_file: Path | None, folder: Path, *, readers_mean: bool) -> Cases:
    """Return the cases that a training of a model learns from, with volumes that are pinned in the cache.

    Args:
        datastore: Images and labels.
        study_file: The study that the server serves; None without one.
        folder: Folder for the files that are made.
        readers_mean: Whether the mean of the readers of the study is learned, see `with_reader_means`.
    """
    cases = datastore.pinned_datalist()
    if not readers_mean or study_file is None:
        return cases
    return with_reader_means(cases, datastore, StudyLabels(datastore.labels, StudyPlan(read_study(study_file))), folder)


def with_reader_means(cases: Cases, datastore: SeriesDatastore, study: StudyLabels, folder: Path) -> Cases:
    """Return the cases of a training with the ``target`` that is learned instead of the consensus of the readers.

    These are the cases that all their readers have submitted, in all their readings: nothing of them can reach a reader
    who is still to read them through the model. Where the readers differ, and no reviewer has decided yet, the case is
    added, unless only approved labels are trained on. Where a reviewer has decided, or a label that is no result of the
    study is in use, that is learned. A consensus that was sent back, or is not approved where that is required, is left
    out. ``label`` is the consensus in any case, which models are measured on.

    Args:
        cases: Cases with a final label.
        datastore: Images and labels.
        study: Labels of the study.
        folder: Folder for the files that are made.
    """
    found = {case["image_id"]: case for case in cases}
    for name in study.plan.study.cases:
        readings = study.compared(name) if study.is_complete(name) else []
        final = study.labels.in_use(name).get(_FINAL)
        concluded = final is not None and final == conclusion_of(study, name)
        if len(readings) < 2 or decision_of(study, name):
            continue
        if final is None and datastore.review_required:
            continue
        if final is not None and not (concluded and name in found):  # from elsewhere, or not approved
            continue
        try:
            target = _write_readers(study, readings, folder / f"{name}-readers.nii.gz")
            known = found.get(name) or _disputed(name, datastore, study, readings, folder)
        except (UserError, OSError) as error:
            logger.warning("Image %s is not learned as the mean of its readers: %s", name, error)
            continue
        found[name] = {**known, TARGET: str(target), "label_sha256": known.get("label_sha256") or sha256_of(target)}
    return [*found.values()]


def learned(case: dict[str, Any]) -> dict[str, Any]:
    """Return a case with what is learned from it as its label."""
    return {**case, "label": case.get(TARGET, case["label"])}


def reader_count(case: Mapping[str, Any]) -> int:
    """Return the number of masks that are learned from a case."""
    return int(nibabel.load(case[TARGET]).shape[3]) if TARGET in case else 1  # type: ignore[attr-defined]


def write_reader_masks(masks: Sequence[np.ndarray], affine: np.ndarray, path: Path) -> None:
    """Write the masks of the readers of a case, shape (X, Y, Z), along the fourth axis of a NIfTI file."""
    image = nibabel.Nifti1Image(np.stack(masks, axis=-1).astype(np.uint8), affine)
    write_atomically(path, partial(nibabel.save, image))


def affine_of(study: StudyLabels, reading: StoredReading) -> np.ndarray:
    """Return the affine of the label of a reading as NIfTI has it, RAS mm."""
    return nibabel.load(study.labels.path(reading.record)).affine  # type: ignore[attr-defined]


def _write_readers(study: StudyLabels, readings: Sequence[StoredReading], path: Path) -> Path:
    masks = [study.mask(one.record) for one in readings]
    if len({mask.shape for mask in masks}) > 1:
        raise UserError("the series changed while it was read")
    write_reader_masks(masks, affine_of(study, readings[0]), path)
    return path


def _disputed(
    name: str, datastore: SeriesDatastore, study: StudyLabels, readings: Sequence[StoredReading], folder: Path
) -> dict[str, Any]:
    """Return a case without a final label, with the consensus of its readers."""
    image = Path(datastore.get_image_uri(name))
    datastore.volumes.pin([image])
    grid = study.grid(readings[0].record)
    if VoxelGrid.from_file(image).size != grid.size:
        raise UserError("it changed after it was read")
    masks = np.stack([study.mask(one.record) for one in readings])
    agreed = consensus_label(masks, grid.spacing, ConsensusMethod(study.plan.study.consensus))
    label = folder / f"{name}-consensus.nii.gz"
    consensus = nibabel.Nifti1Image(agreed.astype(np.uint8), affine_of(study, readings[0]))
    write_atomically(label, partial(nibabel.save, consensus))
    patient = datastore.series(name).value("PatientID")
    return {"image": str(image), "label": str(label), "image_id": name, "patient_id": patient}
