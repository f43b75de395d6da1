"""What a study asks readers to say about each lesion, and what a label does not say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lib.datastore.label_lesions import REJECTED, Remark, remarks_of
from lib.errors import UserError
from lib.evaluation.reader_lesions import match_reader_lesions
from lib.reading.stored_readings import INCOMPLETE


def missing_remarks(ask: Sequence[str], mask: np.ndarray, remarks: Sequence[Remark]) -> list[str]:
    """Return what is asked for and not said of at least one lesion of a label.

    Args:
        ask: Names of fields of a remark.
        mask: The label, shape (X, Y, Z), bool.
        remarks: What its reader said; voxels are column, row, slice.
    """
    said = [one for one in remarks if one.state != REJECTED]
    missing = {name for one in said for name in ask if not getattr(one, name)}
    for lesion in match_reader_lesions([mask]) if ask else ():
        of_lesion = [one for one in said if lesion.contains(one.voxel)]
        missing.update(name for name in ask if not any(getattr(one, name) for one in of_lesion))
    return sorted(missing)


def note_incomplete(ask: Sequence[str], info: Mapping[str, Any], mask: np.ndarray) -> dict[str, Any]:
    """Return what the info of a label notes of what its reader did not say.

    The panel can ask the reader, who loses nothing if it is refused. 3D Slicer has no place for such remarks, so that
    what was drawn there is kept as incomplete.

    Args:
        ask: Names of fields of a remark.
        info: Information of the label.
        mask: The label, shape (X, Y, Z), bool.

    Raises:
        UserError: The client sent remarks, and some are missing.
    """
    missing = missing_remarks(ask, mask, remarks_of(info))
    if missing and "lesions" in info:
        raise UserError(f"The study asks for {asked_text(missing)}.")
    return {INCOMPLETE: missing} if missing else {}


def asked_text(names: Sequence[str]) -> str:
    """Return what is asked for as part of a sentence: ``the note and the texture of each lesion``."""
    return f"the {' and the '.join(names)} of each lesion"


def incomplete_text(names: Sequence[str]) -> str:
    """Return the sentence that tells a reader what to do about an incomplete label."""
    return (
        f"The label is kept, but is no reading yet: the study asks for {asked_text(names)}. Open the case in OHIF, "
        "load the label, add what is missing, and submit it."
    )
