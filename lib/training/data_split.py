"""Hold-out split of offline training."""

from lib.publishing.folds import share_of

_HELD_OUT_SHARE = 0.15


def held_out(patient: str) -> bool:
    """Return whether offline training holds out a patient for testing: 15 %, determined by the name alone."""
    return share_of(patient) < _HELD_OUT_SHARE
