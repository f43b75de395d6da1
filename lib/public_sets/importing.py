"""The cases of a set, one after the other, into the label store; one that fails holds up no other."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from monailabel.interfaces.datastore import DefaultLabelTag

from lib.datastore.image_writing import write_image
from lib.datastore.label_record import LabelRecord
from lib.errors import UserError, in_one_line
from lib.public_sets.case import Case, Found
from lib.public_sets.workplace import Workplace
from lib.storage.atomic import make_folder

VIEWER = "import"
LABELLED, THERE, KEPT, WITHDRAWN, EMPTY = (
    "labelled",
    "there already",
    "left as a person labelled it",
    "left as a person withdrew its label",
    "nothing marked, left without a label",
)
_FINAL = DefaultLabelTag.FINAL.value


@dataclass
class Tally:
    """What became of the cases.

    Attributes:
        counts: Of each outcome.
        failures: Name and reason of each that failed.
    """

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[str, str]] = field(default_factory=list)


def import_cases(found: Found, workplace: Workplace, say: Callable[[str], object]) -> Tally:
    """Label the images of a set; a second call does only what the first did not.

    A label that a person submitted since, or withdrew, is never replaced.

    Args:
        found: What the reader of the set found.
        workplace: Where the images and labels are.
        say: Called with a line for each case.
    """
    tally = Tally(failures=list(found.failures))
    total, ready = len(found.cases), []
    for number, case in enumerate(found.cases, 1):
        if case.prepare is None or workplace.dry_run:
            ready.append(case)
            continue
        try:
            say(f"{number} of {total}  {case.name}: {case.prepare()}")
            ready.append(case)
        except Exception as error:
            _failed(tally, case.name, error, say)
    if not workplace.dry_run and any(isinstance(case.image, Path) for case in ready):
        workplace.scan(lambda done, files: say(f"looking at the images: {done} of {files} new files"))
    done = []
    for number, case in enumerate(ready, 1):
        try:
            image_id, outcome, about = (_look if workplace.dry_run else _label)(found, case, workplace)
        except Exception as error:  # whatever is wrong with one case, the others are imported
            _failed(tally, case.name, error, say)
            continue
        done.append((case.name, image_id, outcome))
        tally.counts[outcome] += 1
        say(f"{number} of {len(ready)}  {case.name}: {spoken(outcome, workplace.dry_run)}{about}")
    if not workplace.dry_run:
        _check(done, workplace, tally)
    return tally


def spoken(outcome: str, dry_run: bool) -> str:
    """An outcome as it is said: what a dry run has not done, it would do."""
    return f"would be {outcome}" if dry_run and outcome == LABELLED else outcome


def _label(found: Found, case: Case, workplace: Workplace) -> tuple[str, str, str]:
    """Label one image; its id, what became of it, and what more to say."""
    series = workplace.series(case.image)
    standing = _standing(workplace.history(series.uid), case, series.instance_count)
    if standing:
        return series.uid, standing, ""
    volume = Path(workplace.datastore.get_image_uri(series.uid))
    drawing = case.draw(volume)
    if drawing is None or not sitk.GetArrayViewFromImage(drawing.mask).any():
        return series.uid, EMPTY, ""  # that there is no tumour is for a person to say
    info = {
        "viewer": VIEWER,
        "annotator": found.title,
        "model_version": None,
        "note": drawing.note,
        "import": {
            "set": found.kind,
            "title": found.title,
            "file": case.source,
            "sha256": case.sha256,
            "regions": list(drawing.regions),
            "slices": series.instance_count,
        },
    }
    make_folder(workplace.settings.temporary_dir)
    with tempfile.TemporaryDirectory(dir=workplace.settings.temporary_dir) as folder:
        path = Path(folder) / "label.nrrd"
        write_image(drawing.mask, path)
        workplace.datastore.save_label(series.uid, str(path), _FINAL, info)
    voxels = int(np.count_nonzero(sitk.GetArrayViewFromImage(drawing.mask)))
    volume_ml = voxels * float(np.prod(drawing.mask.GetSpacing())) / 1000
    return series.uid, LABELLED, f", {', '.join(drawing.regions)}: {voxels} voxels, {volume_ml:.3g} ml"


def _look(found: Found, case: Case, workplace: Workplace) -> tuple[str, str, str]:
    """Say what :func:`_label` would do, from headers."""
    image_id, slices = workplace.indexed(case.image), None
    if isinstance(case.image, str):
        slices = workplace.series(case.image).instance_count
    standing = _standing(workplace.history(image_id), case, slices) if image_id else None
    return image_id or "", standing or (LABELLED if case.check() else EMPTY), ""


def _standing(history: list[LabelRecord], case: Case, slices: int | None) -> str | None:
    """Why an image gets no new label; None where it does."""
    finals = [record for record in history if record.tag == _FINAL]
    if not finals:
        return None
    last = finals[-1]
    if not last.sha256:
        return WITHDRAWN
    former = last.info.get("import") or {}
    if former and not last.info.get("voxels"):
        return None  # earlier versions made empty labels of what they could not fill
    if former.get("sha256") == case.sha256 and slices in (None, former.get("slices")):
        return THERE
    return KEPT if not former or "restored" in last.info else None


def _check(done: list[tuple[str, str, str]], workplace: Workplace, tally: Tally) -> None:
    """Look whether the datastore has what was labelled."""
    labelled = set(workplace.datastore.get_labeled_images(_FINAL))
    for name, image_id, outcome in done:
        if outcome in (LABELLED, THERE) and image_id not in labelled:
            tally.counts[outcome] -= 1
            tally.failures.append((name, "its label was written, but the datastore does not show it"))


def _failed(tally: Tally, name: str, error: Exception, say: Callable[[str], object]) -> None:
    reason = str(error) if isinstance(error, UserError) else in_one_line(error)
    tally.failures.append((name, reason))
    say(f"{name}: failed, {reason}")
