"""Warnings about slice thickness and reconstruction kernel, with what was measured for them (docs/method.md)."""

from __future__ import annotations

import re

_THICK_MM = 5.0
_SHARP_SIEMENS = 60  # B60f, I70f, Br64 ...: the number rises with the sharpness
_SIEMENS = re.compile(r"[A-Z][a-z]?(\d\d)[a-z]?\b")
_SHARP_GE = ("LUNG", "BONE", "BONEPLUS", "EDGE")


def thick_warning(millimetres: float) -> list[str]:
    """Return a warning if slices are this far apart or this thick, in mm, and that is too much."""
    if millimetres <= _THICK_MM:
        return []
    return [
        f"slices of {millimetres:.1f} mm: accuracy was measured on slices of up to 3 mm. Of one tumour on slices "
        "of 8 mm, the shipped model marked 4 of 10 slices. Check the slices above and below each finding"
    ]


def kernel_warning(kernel: str) -> list[str]:
    """Return a warning if a reconstruction kernel is a sharp one.

    Args:
        kernel: Convolution Kernel (0018,1210), whose values are the manufacturer's (PS3.3 C.8.2.1).
    """
    if not is_sharp(kernel):
        return []
    return [
        f"sharp reconstruction kernel ({kernel}): volumes depend on it. Of one patient, the shipped model marked "
        "31.8 ml with B70f and 26.8 ml with the soft B40f. Compare volumes of the same kernel only"
    ]


def is_sharp(kernel: str) -> bool:
    """Return whether a kernel of Siemens or GE is one for lung or bone; those of others are not known here.

    Example:
        >>> [is_sharp(name) for name in ("B70f", "B41f", "Br64d", "LUNG", "STANDARD")]
        [True, False, True, True, False]
    """
    number = _SIEMENS.fullmatch(kernel.strip())
    return int(number[1]) >= _SHARP_SIEMENS if number else kernel.strip().upper() in _SHARP_GE
