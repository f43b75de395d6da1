"""Contents of a public set: its images and the label of each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import SimpleITK as sitk

_CHUNK = 1 << 20


@dataclass(frozen=True)
class CaseLabel:
    """A label made from the annotations of a set.

    Attributes:
        mask: 1 inside the tumour, on the grid of the image.
        regions: Names of the regions in the set.
        note: Caveat to store with the label.
    """

    mask: sitk.Image
    regions: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True)
class Case:
    """An image of a set and the source of its label.

    Attributes:
        name: Name in the set.
        image: SeriesInstanceUID, or the image file.
        source: Path of the label within the set, for messages.
        sha256: Checksum of all input of the label, including the selection of regions.
        check: Returns whether anything is marked, from headers only. Raises UserError if :attr:`make_label` is bound
            to fail.
        make_label: Makes the label, given the volume of the image (NRRD with its geometry). None: nothing is marked.
        prepare: Called before the images are indexed; converts sets that need it.
    """

    name: str
    image: str | Path
    source: str
    sha256: str
    check: Callable[[], bool]
    make_label: Callable[[Path], CaseLabel | None]
    prepare: Callable[[], object] | None = None


@dataclass(frozen=True)
class PublicSet:
    """A set as found in a folder.

    Attributes:
        kind: Name of the set on the command line.
        title: Title of the set; stored as the author of the labels.
        cases: Images that can be labelled.
        failures: Name and reason of each image that cannot.
        remarks: Counts and caveats, one sentence each.
    """

    kind: str
    title: str
    cases: list[Case]
    failures: list[tuple[str, str]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def digest(files: Iterable[Path], *choices: object) -> str:
    """Return the SHA-256 over the content of files, in the given order, and over the choices made among them."""
    total = hashlib.sha256(repr(choices).encode())
    for path in files:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                total.update(chunk)
    return total.hexdigest()
