"""How DICOM objects name a lesion, and what they say about it beside its measurements."""

from __future__ import annotations

from pydicom.sr.coding import Code

from lib.exports.confidence import describe_confidence
from lib.exports.lesion_table import MeasuredLesion
from lib.exports.provenance import Provenance

_LONGEST_DESCRIPTION = 1024  # characters of an ST (PS3.5 6.2)
# PS3.16 has no codes for these; a scheme whose name begins with 99 is a private one (PS3.16 8.2).
_SCHEME = "99LUNGLABEL"
STATE = Code("state", _SCHEME, "State of the finding")
TEXTURE = Code("texture", _SCHEME, "Texture of the lesion")
STATES = {
    "proposed": Code("proposed", _SCHEME, "Proposed by the model, not reviewed"),
    "accepted": Code("accepted", _SCHEME, "Proposed by the model and accepted"),
    "added": Code("added", _SCHEME, "Added by the reader"),
}
TEXTURES = {
    "solid": Code("solid", _SCHEME, "Solid"),
    "part_solid": Code("part_solid", _SCHEME, "Part-solid"),
    "ground_glass": Code("ground_glass", _SCHEME, "Ground glass"),
}


def tracking(lesion: MeasuredLesion, provenance: Provenance) -> tuple[str, str]:
    """Return tracking identifier and tracking UID of a lesion; both stay the same over the labels of an image."""
    uid = lesion.tracking_uid or provenance.uid(f"lesion {lesion.label} {lesion.number}")
    return f"{lesion.label} {lesion.number}", uid


def describe_lesion(lesion: MeasuredLesion) -> str | None:
    """Return the Segment Description of a lesion; None if there is nothing to say."""
    parts = [
        f"{STATES[lesion.state].meaning}." if lesion.state in STATES else None,
        f"{TEXTURES[lesion.texture].meaning}." if lesion.texture in TEXTURES else None,
        describe_confidence(lesion.confidence),
        f"Note: {printable(lesion.note)}" if lesion.note else None,
    ]
    return " ".join(part for part in parts if part)[:_LONGEST_DESCRIPTION] or None


def printable(text: str) -> str:
    """Return a text of a user without control characters."""
    return "".join(char if char.isprintable() else " " for char in text)
