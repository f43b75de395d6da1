"""Review of labels: what reviewers said about a version of a label, kept in its record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any

from lib.datastore.label_record import LabelRecord
from lib.errors import UserError
from lib.identity.names import is_same_user

APPROVED, SENT_BACK, WAITING = "approved", "sent back", "waiting for review"
LONGEST_NOTE = 1000  # characters
_REVIEWS = "reviews"  # in the info of a label


@dataclass(frozen=True)
class LabelReview:
    """What a reviewer said about a version of a label.

    Attributes:
        verdict: ``approved`` or ``sent back``.
        by: Name of the reviewer.
        time: Seconds since 1970.
        note: What to correct.
    """

    verdict: str
    by: str
    time: float
    note: str = ""

    def __post_init__(self) -> None:
        """Check that somebody is told what to correct.

        Raises:
            UserError: The note is missing or too long.
        """
        if self.verdict == SENT_BACK and not self.note:
            raise UserError("Write a note: what is to be corrected in the label that you send back?")
        if len(self.note) > LONGEST_NOTE:
            raise UserError(f"The note has {len(self.note)} characters; {LONGEST_NOTE} are possible.")


@dataclass(frozen=True)
class ReviewState:
    """State of the latest version of a label.

    Attributes:
        state: ``approved``, ``sent back`` or ``waiting for review``.
        review: What was said about this version, if anything.
    """

    state: str
    review: LabelReview | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the state with reviewer, time and note, which are None until there is a review."""
        return {"state": self.state, **{name: self.review and getattr(self.review, name) for name in _FACTS}}


_FACTS = ("by", "time", "note")


def with_review(info: Mapping[str, Any], review: LabelReview) -> dict[str, Any]:
    """Return the change that a review makes to the info of a label; earlier reviews are kept."""
    return {_REVIEWS: [*_stored(info), asdict(review)]}


def without_reviews(info: Mapping[str, Any]) -> dict[str, Any]:
    """Return the info of a label for another version of it, about which nobody has said anything."""
    return {name: value for name, value in info.items() if name != _REVIEWS}


def latest_review(record: LabelRecord) -> LabelReview | None:
    """Return the latest review of a version of a label; None if there is none."""
    stored = _stored(record.info)
    return LabelReview(**stored[-1]) if stored else None


def review_state(record: LabelRecord, history: Sequence[LabelRecord], *, required: bool) -> ReviewState | None:
    """Return the state of a label.

    A new version of a label that was reviewed before waits for review again.

    Args:
        record: Version of the label that is in use.
        history: All labels of the image.
        required: Whether all labels need a review.

    Returns:
        None if nobody has reviewed it, and nobody has to.
    """
    if review := latest_review(record):
        return ReviewState(review.verdict, review)
    was_reviewed = any(one.tag == record.tag and _stored(one.info) for one in history)
    return ReviewState(WAITING) if required or was_reviewed else None


def is_trained_on(record: LabelRecord, *, required: bool) -> bool:
    """Return whether trainings use a label: never one that was sent back, and if a review is required, only approved.

    Args:
        record: Version of the label that is in use.
        required: Whether all labels need a review.
    """
    review = latest_review(record)
    return review.verdict == APPROVED if review else not required


def check_reviewer(author: str | None, reviewer: str) -> None:
    """Check that nobody reviews the own label.

    Raises:
        UserError: The reviewer has submitted it (403).
    """
    if is_same_user(author, reviewer):
        raise UserError(
            f"{reviewer} has submitted this label, so somebody else has to review it.", HTTPStatus.FORBIDDEN
        )


def _stored(info: Mapping[str, Any]) -> list[dict[str, Any]]:
    stored = info.get(_REVIEWS)
    return stored if isinstance(stored, list) else []
