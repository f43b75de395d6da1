"""Base class of a group of settings, and the types of its values."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A group of settings. Types are strict, and unknown names are rejected."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True)


def ascending(window: list[float]) -> list[float]:
    """Return a range if its lower value is first; raise a ValueError otherwise."""
    if window[0] >= window[1]:
        raise ValueError(f"must be [lower, upper] with the lower value first, not {window}")
    return window


def different(values: dict[str, int]) -> dict[str, int]:
    """Return a mapping if all its values are different; raise a ValueError otherwise."""
    if len(set(values.values())) < len(values):
        raise ValueError(f"must give each label a different value, not {values}")
    return values


Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, le=1_000_000)]
AtLeastOne = Annotated[int, Field(ge=1, le=1_000_000)]
Millimetres = Annotated[float, Field(ge=0, le=1000)]
Hounsfield = Annotated[float, Field(ge=-32768, le=32767)]
Window = Annotated[list[Hounsfield], Field(min_length=2, max_length=2), AfterValidator(ascending)]
Code = Annotated[list[str], Field(min_length=3, max_length=3)]
"""Code value, coding scheme and meaning of a coded concept (PS3.3 section 8)."""
