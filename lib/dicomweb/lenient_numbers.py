"""Decimal strings (PS3.5 6.2) as hospitals have them: with a comma, or with decimals in an integer string.

Programs that print with the locale of their machine write ``-166,0000``; the meaning is never in doubt, because a
comma separates nothing in DICOM. pydicom calls :func:`_with_points` for each element it parses, so that such a number
is the same wherever a file is read: in the index, in WADO-RS metadata, in the volume, in an export.
"""

from __future__ import annotations

import re
import warnings
from typing import Any

from pydicom import config
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement

_COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")


def number(text: str) -> float:
    """Parse one value of a decimal or integer string.

    Raises:
        ValueError: It is no number.

    Example:
        >>> number("-166,25"), number(" 2.5 ")
        (-166.25, 2.5)
    """
    text = text.strip()
    return float(text.replace(",", ".") if _COMMA.fullmatch(text) else text)


def read_leniently() -> None:
    """Make pydicom take decimal commas as points, and read what breaks PS3.5 6.2 without a warning for each value."""
    config.data_element_callback = _with_points
    config.settings.reading_validation_mode = config.IGNORE
    # What it says beside quotes values of the file, for each slice, and tells nobody what to do.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"pydicom\.")


def _with_points(raw: RawDataElement, **_: Any) -> RawDataElement:
    if not isinstance(raw.value, bytes) or b"," not in raw.value:
        return raw
    vr = raw.VR
    if vr is None:  # implicit VR
        try:
            vr = dictionary_VR(raw.tag)
        except KeyError:
            return raw
    if vr not in ("DS", "IS"):
        return raw
    values = raw.value.decode("ascii", errors="replace").rstrip("\0 ").split("\\")
    if not all(_COMMA.fullmatch(value.strip()) or "," not in value for value in values):
        return raw
    return raw._replace(value="\\".join(values).replace(",", ".").encode("ascii", errors="replace"))
