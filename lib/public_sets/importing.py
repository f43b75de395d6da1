"""Import of the cases of a set into the label store."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from monailabel.interfaces.datastore import DefaultLabelTag

from lib.datastore.image_writing import write_image
from lib.datastore.label_record import LabelRecord
from lib.errors import UserError, in_one_line
from lib.geometry.voxel_grid import VoxelGrid
from lib.public_sets.case import Case, PublicSet
from lib.public_sets.import_target import ImportTarget
from lib.storage.atomic import make_folder

VIEWER = "import"
LABELLED, UNCHANGED, KEPT, WITHDRAWN, EMPTY = (
    "labelled",
    "there already",
    "left as a person labelled it",
    "left as a person withdrew its label",
    "nothing marked, left without a label",
)
_FINAL = DefaultLabelTag.FINAL.value


@dataclass
class Tally:
    """Outcomes of the cases.

    Attributes:
        counts: Number of cases by outcome.
        failures: Name and reason of each failed case.
    """

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[str, str]] = field(default_factory=list)


class _NoNewLabelError(Exception):
    """An image gets no new label; with its id and the outcome."""


def import_cases(found: PublicSet, target: ImportTarget, report: Callable[[str], object]) -> Tally:
    """Label the images of a set; idempotent, and a failed case does not stop the others.

    Labels that a user has submitted or withdrawn since are never replaced.

    Args:
        found: The set.
        target: Datastore to import into.
        report: Called with one line of progress per case.
    """
    tally = Tally(failures=list(found.failures))
    total, ready = len(found.cases), []
    for number, case in enumerate(found.cases, 1):
        if case.prepare is None or target.dry_run:
            ready.append(case)
            continue
        try:
            report(f"{number} of {total}  {case.name}: {case.prepare()}")
            ready.append(case)
        except Exception as error:
            _failed(tally, case.name, error, report)
    if not target.dry_run and any(isinstance(case.image, Path) for case in ready):
        target.scan(partial(_report_scan, report))
    done = []
    for number, case in enumerate(ready, 1):
        try:
            image_id, outcome, details = (_preview if target.dry_run else _label)(found, case, target)
        except _NoNewLabelError as found_out:
            image_id, outcome, details = *found_out.args, ""
        except Exception as error:  # a failed case must not stop the others
            _failed(tally, case.name, error, report)
            continue
        done.append((case.name, image_id, outcome))
        tally.counts[outcome] += 1
        report(f"{number} of {len(ready)}  {case.name}: {describe_outcome(outcome, target.dry_run)}{details}")
    if not target.dry_run:
        _check(done, target, tally)
    return tally


def _report_scan(report: Callable[[str], object], done: int, files: int) -> None:
    report(f"indexing the images: {done} of {files} new files")


def describe_outcome(outcome: str, dry_run: bool) -> str:
    """Return the wording of an outcome, in the conditional for a dry run."""
    return f"would be {outcome}" if dry_run and outcome == LABELLED else outcome


def _label(found: PublicSet, case: Case, target: ImportTarget) -> tuple[str, str, str]:
    """Label one image; return its id, the outcome, and details for the message.

    Raises:
        _NoNewLabelError: The image has a label that is not replaced.
    """
    series = target.series(case.image)

    def check() -> None:
        if reason := _skip_reason(target.history(series.uid), case, series.instance_count):
            raise _NoNewLabelError(series.uid, reason)

    check()
    volume = Path(target.datastore.get_image_uri(series.uid))
    label = case.make_label(volume)
    if label is None or not sitk.GetArrayViewFromImage(label.mask).any():
        return series.uid, EMPTY, ""  # only a user may state that there is no tumour
    info = {
        "viewer": VIEWER,
        "annotator": found.title,
        "model_version": None,
        "note": label.note,
        "import": {
            "set": found.kind,
            "title": found.title,
            "file": case.source,
            "sha256": case.sha256,
            "regions": list(label.regions),
            "slices": series.instance_count,
        },
    }
    make_folder(target.settings.temporary_dir)
    with tempfile.TemporaryDirectory(dir=target.settings.temporary_dir) as folder:
        path = Path(folder) / "label.nrrd"
        write_image(label.mask, path)
        # Making the label takes time, in which a person may have submitted one.
        target.datastore.store_label(series.uid, str(path), _FINAL, info, check=check)
    voxels = int(np.count_nonzero(sitk.GetArrayViewFromImage(label.mask)))
    volume_ml = voxels * VoxelGrid.from_image(label.mask).voxel_mm3 / 1000
    return series.uid, LABELLED, f", {', '.join(label.regions)}: {voxels} voxels, {volume_ml:.3g} ml"


def _preview(found: PublicSet, case: Case, target: ImportTarget) -> tuple[str, str, str]:
    """Return what :func:`_label` would return, from headers only."""
    image_id, slices = target.indexed(case.image), None
    if isinstance(case.image, str):
        slices = target.series(case.image).instance_count
    reason = _skip_reason(target.history(image_id), case, slices) if image_id else None
    return image_id or "", reason or (LABELLED if case.check() else EMPTY), ""


def _skip_reason(history: list[LabelRecord], case: Case, slices: int | None) -> str | None:
    """Return the outcome of an image that gets no new label; None if it gets one."""
    finals = [record for record in history if record.tag == _FINAL]
    if not finals:
        return None
    last = finals[-1]
    if not last.sha256:
        return WITHDRAWN
    former = last.info.get("import") or {}
    if former and not last.info.get("voxels"):
        return None  # earlier versions stored empty labels for outlines that they could not fill
    if former.get("sha256") == case.sha256 and slices in (None, former.get("slices")):
        return UNCHANGED
    return KEPT if not former or "restored" in last.info else None


def _check(done: list[tuple[str, str, str]], target: ImportTarget, tally: Tally) -> None:
    """Move cases whose label the datastore does not list to the failures."""
    labelled = set(target.datastore.get_labeled_images(_FINAL))
    for name, image_id, outcome in done:
        if outcome in (LABELLED, UNCHANGED) and image_id not in labelled:
            tally.counts[outcome] -= 1
            tally.failures.append((name, "its label was written, but the datastore does not list it"))


def _failed(tally: Tally, name: str, error: Exception, report: Callable[[str], object]) -> None:
    reason = str(error) if isinstance(error, UserError) else in_one_line(error)
    tally.failures.append((name, reason))
    report(f"{name}: failed, {reason}")
