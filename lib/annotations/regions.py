"""Regions that other programs marked on an image, and the rules that select the label among them."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import SimpleITK as sitk
from pydicom.sr.coding import Code

from lib.errors import UserError


class NothingMarkedError(UserError):
    """Raised for regions without a voxel: storing an empty mask would claim that there is no tumour."""

    def __init__(self, regions: Sequence[Region]) -> None:
        names = " and ".join(repr(region.name) for region in regions)
        reasons = "; ".join(warning for region in regions for warning in region.warnings)
        super().__init__(f"{names} marks no voxel{f': {reasons}' if reasons else ''}.")


@dataclass(frozen=True)
class Region:
    """A segment of a DICOM SEG, an ROI of an RTSTRUCT, or a consensus of readers.

    Attributes:
        name: Name given by the creator.
        codes: Codes given by the creator, each ``scheme:value``, such as ``SCT:27925004``.
        mask: Computes the mask: uint8, 1 inside, on the grid of the image. Raises UserError if that is impossible.
        warnings: What was skipped or thresholded, one sentence each.
        drawn: Whether the header lists closed contours or frames for the region.
        problem: Why the region cannot be used, as a sentence; empty if the header shows no reason. Other regions of
            the object can be used.
    """

    name: str
    codes: tuple[str, ...]
    mask: Callable[[], sitk.Image]
    warnings: tuple[str, ...] = ()
    drawn: bool = True
    problem: str = ""

    def __str__(self) -> str:
        return f"{self.name!r}" + (f" ({', '.join(self.codes)})" if self.codes else "")


def choose(regions: Sequence[Region], rules: Mapping, wanted: Sequence[str] = ()) -> sitk.Image:
    """Return the label: the union of the regions that :func:`select` returns.

    Returns:
        uint8, 1 inside, on the grid of the image.

    Raises:
        UserError: The selection is ambiguous, or the mask of a region cannot be computed.
    """
    return union(select(regions, rules, wanted))


def union(regions: Sequence[Region]) -> sitk.Image:
    """Return the union of at least one region.

    Raises:
        NothingMarkedError: The union is empty.
        UserError: The mask of a region cannot be computed.
    """
    check_drawn(regions)
    mask = regions[0].mask()
    for region in regions[1:]:
        mask = mask | region.mask()
    if not sitk.GetArrayViewFromImage(mask).any():
        raise NothingMarkedError(regions)
    return mask


def check_drawn(regions: Sequence[Region]) -> None:
    """Check that the headers list contours or frames for at least one region, and no problem of any.

    Raises:
        UserError: A region cannot be used.
        NothingMarkedError: They list none. The message includes the warnings of the regions.
    """
    for region in regions:
        if region.problem:
            raise UserError(region.problem)
    if not any(region.drawn for region in regions):
        raise NothingMarkedError(regions)


def select(regions: Sequence[Region], rules: Mapping, wanted: Sequence[str] = ()) -> list[Region]:
    """Select the regions that form the label.

    Args:
        regions: All regions of one object.
        rules: ``imports`` of ``info.yaml``. A region is accepted if its name matches a pattern of ``names`` or one of
            its codes is in ``codes``. One accepted region is the label. Several accepted regions form the label only
            if all their names match ``join``, or if their names say no more than their code, such as "Segment 1" and
            "Segment 2" for two nodules. Patterns are shell patterns (``*``, ``?``, ``[0-9]``), case-insensitive, and
            ignore the separators between words and numbers.
        wanted: Names of the regions to use regardless of the rules, case-insensitive.

    Raises:
        UserError: A wanted region is missing, no region is accepted, or the accepted ones may be different findings.
    """
    if not regions:
        raise UserError("The object has no regions.")
    listed = "; ".join(map(str, regions))
    if wanted:
        names = {name.lower() for name in wanted}
        if missing := [name for name in wanted if name.lower() not in {region.name.lower() for region in regions}]:
            raise UserError(f"The object has no region named {', '.join(map(repr, missing))}; it has {listed}.")
        return [region for region in regions if region.name.lower() in names]
    accepted = [
        region for region in regions if _matches_name(region, rules["names"]) or _has_code(region, rules["codes"])
    ]
    if not accepted:
        raise UserError(
            f"None of the regions is recognized as a tumour: {listed}. If one is, select it by name, or add its "
            "name to imports.names in info.yaml."
        )
    if len(accepted) == 1 or all(_matches_name(region, rules["join"]) for region in accepted):
        return accepted
    generic_names = not any(_matches_name(region, rules["names"]) for region in accepted)
    if generic_names and len({re.sub(r"\d+", "", _normalized(region.name)) for region in accepted}) == 1:
        return accepted
    raise UserError(
        f"Several regions may be the tumour: {'; '.join(map(str, accepted))}. They may be separate findings or "
        "repeated outlines of one. Select by name, or change imports in info.yaml to accept fewer (names, codes) or to "
        "join them (join)."
    )


def code_of(code: Code) -> str:
    """Format a code as in :attr:`Region.codes`.

    Example:
        >>> code_of(Code("27925004", "SCT", "Nodule"))
        'SCT:27925004'
    """
    return f"{code.scheme_designator}:{code.value}"


def _matches_name(region: Region, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(_normalized(region.name), pattern.lower()) for pattern in patterns)


def _has_code(region: Region, codes: Sequence[Sequence[str]]) -> bool:
    """Return whether a region has one of the codes; pydicom equates SRT codes with their SNOMED CT replacements."""
    known = [Code(value, scheme, meaning) for value, scheme, meaning in codes]
    own = [Code(value, scheme, "") for scheme, _, value in (code.partition(":") for code in region.codes)]
    return any(code in known for code in own)


def _normalized(name: str) -> str:
    """Return a name in lower case, with one space between words and between words and numbers.

    Example:
        >>> _normalized("GTV-1"), _normalized("Tumor_c40"), _normalized("Lung_L")
        ('gtv 1', 'tumor c 40', 'lung l')
    """
    return " ".join(re.findall(r"\d+|[^\W\d_]+", name.lower()))
