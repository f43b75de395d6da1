"""Conversion of DICOMweb request parameters to arguments of a client (PS3.18 8.3.4 and 10.4.1.1.6)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lib.errors import UserError

_NUMBER = re.compile(r"[0-9]{1,9}")
_QUERY_WORDS = ("limit", "offset", "includefield", "fuzzymatching")


def search_arguments(parameters: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments of a client's search method for the query parameters of a QIDO-RS request.

    Raises:
        UserError: Limit or offset is not a number.
    """
    for name in ("limit", "offset"):
        if name in parameters and not _NUMBER.fullmatch(parameters[name]):
            raise UserError(f"{name} must be a number of up to nine digits, not {parameters[name][:40]!r}.")
    return {
        "limit": int(parameters["limit"]) if "limit" in parameters else None,
        "offset": int(parameters["offset"]) if "offset" in parameters else None,
        "fuzzymatching": parameters.get("fuzzymatching") == "true",
        "search_filters": {name: value for name, value in parameters.items() if name not in _QUERY_WORDS},
    }


def frame_numbers(text: str) -> list[int]:
    """Return the frame numbers (from 1) that a WADO-RS path lists.

    Raises:
        UserError: The list has an invalid number or a duplicate.
    """
    numbers = text.split(",")
    if not all(_NUMBER.fullmatch(number) for number in numbers):
        raise UserError(f"The frames must be numbers from 1, separated by commas, not {text[:40]!r}.")
    if len(set(numbers)) < len(numbers):
        raise UserError(f"The frames must be different numbers, not {text[:40]!r}.")
    return [int(number) for number in numbers]
