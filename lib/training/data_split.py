"""Which patients offline training keeps for testing."""

from lib.publishing.hold_out import share_of

_HELD_OUT_SHARE = 0.15


def held_out(patient: str) -> bool:
    """Whether offline training keeps a patient for testing: 15 in 100, by the name alone."""
    return share_of(patient) < _HELD_OUT_SHARE
