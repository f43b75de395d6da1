"""What a public set holds, as its reader finds it: images, and what is marked on each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import SimpleITK as sitk

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Drawing:
    """A label made of what a set says.

    Attributes:
        mask: 1 inside the tumour, on the voxels of the image.
        regions: Names under which the set has it.
        note: What to beware of; kept with the label.
    """

    mask: sitk.Image
    regions: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True)
class Case:
    """An image of a set and where its label comes from.

    Attributes:
        name: As the set calls it.
        image: SeriesInstanceUID, or the image file.
        source: The file of the label, as a person finds it in the set.
        sha256: Of all that the label is made of, the choice of regions included.
        check: Reads headers only; says whether anything is marked, as far as they tell. Raises UserError where it
            sees that :attr:`draw` would fail.
        draw: Makes the label, given the volume of the image (NRRD on its true grid). None: nothing is marked.
        prepare: Called before the images are looked for; a set that must be converted first does it here.
    """

    name: str
    image: str | Path
    source: str
    sha256: str
    check: Callable[[], bool]
    draw: Callable[[Path], Drawing | None]
    prepare: Callable[[], object] | None = None


@dataclass(frozen=True)
class Found:
    """What the reader of a set found in a folder.

    Attributes:
        kind: As the command line calls the set.
        title: Its name; the labels' author.
        cases: What can be labelled.
        failures: What should be a case and is none: name, and reason.
        remarks: Checked counts and what to beware of, a sentence each.
    """

    kind: str
    title: str
    cases: list[Case]
    failures: list[tuple[str, str]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def digest(files: Iterable[Path], *choices: object) -> str:
    """SHA-256 over the content of files, in the order given, and over what was chosen of them."""
    total = hashlib.sha256(repr(choices).encode())
    for path in files:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                total.update(chunk)
    return total.hexdigest()
