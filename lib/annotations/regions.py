"""What others have marked on an image, and which of it is the label."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import SimpleITK as sitk
from pydicom.sr.coding import Code

from lib.errors import UserError


class NothingMarkedError(UserError):
    """Regions without a voxel. An empty mask would say that there is no tumour, which nobody has said."""

    def __init__(self, regions: Sequence[Region]) -> None:
        names = " and ".join(repr(region.name) for region in regions)
        reasons = "; ".join(warning for region in regions for warning in region.warnings)
        super().__init__(f"{names} marks no voxel{f': {reasons}' if reasons else ''}.")


@dataclass(frozen=True)
class Region:
    """A segment of a DICOM SEG, an ROI of an RTSTRUCT, or what readers agree on.

    Attributes:
        name: As its maker called it.
        codes: What its maker said it is, each ``scheme:value``, such as ``SCT:27925004``.
        mask: Makes the mask: uint8, 1 inside, on the grid of the image. Raises UserError where that is not possible.
        warnings: What of it is left out, a sentence each.
        drawn: Whether anything is drawn of it, as far as headers tell: contours that enclose something, or frames.
    """

    name: str
    codes: tuple[str, ...]
    mask: Callable[[], sitk.Image]
    warnings: tuple[str, ...] = ()
    drawn: bool = True

    def __str__(self) -> str:
        return f"{self.name!r}" + (f" ({', '.join(self.codes)})" if self.codes else "")


def choose(regions: Sequence[Region], rules: Mapping, wanted: Sequence[str] = ()) -> sitk.Image:
    """The label: the union of the regions that :func:`select` selects.

    Returns:
        uint8, 1 inside, on the grid of the image.

    Raises:
        UserError: It is not clear which regions are meant, or one of them has no mask.
    """
    return union(select(regions, rules, wanted))


def union(regions: Sequence[Region]) -> sitk.Image:
    """Join regions, of which there is at least one.

    Raises:
        NothingMarkedError: They mark no voxel.
        UserError: One of them has no mask.
    """
    check_drawn(regions)
    whole = regions[0].mask()
    for region in regions[1:]:
        whole = whole | region.mask()
    if not sitk.GetArrayViewFromImage(whole).any():
        raise NothingMarkedError(regions)
    return whole


def check_drawn(regions: Sequence[Region]) -> None:
    """Refuse regions of which headers tell already that they mark nothing.

    Raises:
        NothingMarkedError: With what of them is left out.
    """
    if not any(region.drawn for region in regions):
        raise NothingMarkedError(regions)


def select(regions: Sequence[Region], rules: Mapping, wanted: Sequence[str] = ()) -> list[Region]:
    """The regions that are the label.

    Args:
        regions: All that there are of one object.
        rules: ``imports`` of ``info.yaml``. A region is accepted if its name matches a pattern of ``names``, or if
            ``codes`` has one of its codes; none other matters. One accepted region is the label. Several are only if
            all their names match ``join``, or if none says more than its code does, such as "Segment 1" and
            "Segment 2", both of them nodules. In patterns ``*``, ``?`` and ``[0-9]`` mean what they do in a shell;
            capitals and what stands between words and numbers make no difference.
        wanted: Names of the regions to take instead, whatever the rules say. Capitals make no difference.

    Raises:
        UserError: One that is wanted is not there; or none is accepted, or several that need not be the same thing.
    """
    if not regions:
        raise UserError("It has no region.")
    listed = "; ".join(map(str, regions))
    if wanted:
        names = {name.lower() for name in wanted}
        if missing := [name for name in wanted if name.lower() not in {region.name.lower() for region in regions}]:
            raise UserError(f"It has no region named {', '.join(map(repr, missing))}; it has {listed}.")
        return [region for region in regions if region.name.lower() in names]
    accepted = [region for region in regions if _named(region, rules["names"]) or _coded(region, rules["codes"])]
    if not accepted:
        raise UserError(
            f"None of its regions is known to be a tumour: {listed}. If one is, choose it by its name, or add the "
            "name to imports.names in info.yaml."
        )
    if len(accepted) == 1 or all(_named(region, rules["join"]) for region in accepted):
        return accepted
    nameless = not any(_named(region, rules["names"]) for region in accepted)
    if nameless and len({re.sub(r"\d+", "", _plain(region.name)) for region in accepted}) == 1:
        return accepted
    raise UserError(
        f"Several of its regions may be the tumour: {'; '.join(map(str, accepted))}. They may be findings to be "
        "joined, or the same one several times. Choose by name, or let imports in info.yaml accept fewer (names, "
        "codes) or join them (join)."
    )


def code_of(code: Code) -> str:
    """A code as it stands in :attr:`Region.codes`.

    Example:
        >>> code_of(Code("27925004", "SCT", "Nodule"))
        'SCT:27925004'
    """
    return f"{code.scheme_designator}:{code.value}"


def _named(region: Region, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(_plain(region.name), pattern.lower()) for pattern in patterns)


def _coded(region: Region, codes: Sequence[Sequence[str]]) -> bool:
    """Whether it has one of the codes; pydicom takes SRT's codes for those of SNOMED CT that replaced them."""
    known = [Code(value, scheme, meaning) for value, scheme, meaning in codes]
    own = [Code(value, scheme, "") for scheme, _, value in (code.partition(":") for code in region.codes)]
    return any(code in known for code in own)


def _plain(name: str) -> str:
    """Small letters; a space between words and between words and numbers, whatever stood there.

    Example:
        >>> _plain("GTV-1"), _plain("Tumor_c40"), _plain("Lung_L")
        ('gtv 1', 'tumor c 40', 'lung l')
    """
    return " ".join(re.findall(r"\d+|[^\W\d_]+", name.lower()))
