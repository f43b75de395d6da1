"""Lenient parsing of decimal strings (PS3.5 6.2): with a decimal comma, or with decimals in an integer string.

Programs that print with the locale of their machine write ``-166,0000``; this is unambiguous, because a comma is no
separator in DICOM. pydicom calls :func:`_with_points` for each element it parses, so that such a number is the same
wherever a file is read: in the index, in WADO-RS metadata, in the volume, in an export.
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
        ValueError: The text is not a number.

    Example:
        >>> number("-166,25"), number(" 2.5 ")
        (-166.25, 2.5)
    """
    text = text.strip()
    return float(text.replace(",", ".") if _COMMA.fullmatch(text) else text)


def read_leniently() -> None:
    """Configure pydicom to accept decimal commas, and values that violate PS3.5 6.2 without a warning for each."""
    config.data_element_callback = _with_points
    config.settings.reading_validation_mode = config.IGNORE
    # Its other warnings quote values of the file, are repeated for each slice, and suggest no action.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"pydicom\.")


def _with_points(raw_elem: RawDataElement, **_: Any) -> RawDataElement:
    if not isinstance(raw_elem.value, bytes) or b"," not in raw_elem.value:
        return raw_elem
    vr = raw_elem.VR
    if vr is None:  # implicit VR
        try:
            vr = dictionary_VR(raw_elem.tag)
        except KeyError:
            return raw_elem
    if vr not in ("DS", "IS"):
        return raw_elem
    values = raw_elem.value.decode("ascii", errors="replace").rstrip("\0 ").split("\\")
    if not all(_COMMA.fullmatch(value.strip()) or "," not in value for value in values):
        return raw_elem
    return raw_elem._replace(value="\\".join(values).replace(",", ".").encode("ascii", errors="replace"))
