"""Pictures of whole scans: what a model outlines, misses and marks wrongly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lib.evaluation.figures import FOUND_COLOUR, SIDE_PX, TRUTH_COLOUR, outlined_slice
from lib.evaluation.metrics import VoxelCounts
from lib.geometry.connected_components import connected_components
from lib.storage.atomic import write_atomically

_PANELS = 3
_CAPTION_PX, _FONT_PX, _GAP_PX = 26, 14, 2


@dataclass(frozen=True)
class MarkedScan:
    """Whole scan with the mask of a model.

    Attributes:
        patient: Its patient.
        hu: CT in HU, (X, Y, Z), axes L, P, S.
        truth: Reference, bool, same shape.
        mask: What the model marks, bool, same shape.
        spacing: Voxel spacing in mm.
    """

    patient: str
    hu: np.ndarray
    truth: np.ndarray
    mask: np.ndarray
    spacing: tuple[float, float, float]

    @cached_property
    def dice(self) -> float:
        """Dice of the reference with the components of the mask that touch it."""
        touching = np.isin(self._components, self._numbers(touching=True))
        return VoxelCounts.of(touching, self.truth).dice

    def false_findings(self) -> list[tuple[float, int]]:
        """Return the volume in mm³ and the number of each component of the mask that does not touch the reference."""
        voxels, voxel_mm3 = np.bincount(self._components.ravel()), float(np.prod(self.spacing))
        return [(voxels[number] * voxel_mm3, number) for number in self._numbers(touching=False)]

    def component(self, number: int) -> np.ndarray:
        """Return a component of the mask, bool."""
        return self._components == number

    @cached_property
    def _components(self) -> np.ndarray:
        return connected_components(self.mask)[0]

    def _numbers(self, *, touching: bool) -> list[int]:
        """Return the components that touch the reference, or those that do not."""
        near = np.unique(self._components[self.truth & self.mask])
        return near.tolist() if touching else np.setdiff1d(np.unique(self._components), [0, *near]).tolist()

    def panel(self, target: np.ndarray) -> np.ndarray:
        """Return the slice with the largest area of a target, RGB, with the outlines of reference and mask."""
        outlines = [(self.truth, TRUTH_COLOUR), (self.mask, FOUND_COLOUR)]
        return outlined_slice(self.hu, int(target.sum((0, 1)).argmax()), target, self.spacing, outlines)


def write_pictures(scans: Sequence[MarkedScan], output: Path) -> None:
    """Write ``found.png``, the outlines of some lesions, and ``missed.png``, the largest errors.

    Args:
        scans: Scans of which each has a lesion in the reference.
        output: Folder.
    """
    ranked = sorted(scans, key=lambda scan: scan.dice, reverse=True)
    places = np.linspace(0, len(ranked) - 1, min(_PANELS, len(ranked))).round().astype(int)
    _write(
        [(scan, scan.truth, f"{scan.patient}: Dice {scan.dice:.2f}") for scan in (ranked[place] for place in places)],
        output / "found.png",
    )
    worst = max(scans, key=lambda scan: np.count_nonzero(scan.truth & ~scan.mask) * np.prod(scan.spacing))
    errors = [(worst, worst.truth & ~worst.mask, f"{worst.patient}: largest part that is missing")]
    wrong = sorted(
        ((volume, scan, number) for scan in scans for volume, number in scan.false_findings()),
        key=lambda one: one[0],
        reverse=True,
    )
    errors += [
        (scan, scan.component(number), f"{scan.patient}: not in the reference")
        for _, scan, number in wrong[: _PANELS - 1]
    ]
    _write(errors, output / "missed.png")


def _write(panels: Sequence[tuple[MarkedScan, np.ndarray, str]], path: Path) -> None:
    step = SIDE_PX + _GAP_PX
    image = Image.new("RGB", (step * len(panels) - _GAP_PX, SIDE_PX + _CAPTION_PX), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size=_FONT_PX)
    for column, (scan, target, caption) in enumerate(panels):
        image.paste(Image.fromarray(scan.panel(target)), (column * step, 0))
        draw.text((column * step + 4, SIDE_PX + _CAPTION_PX // 2), caption, "#1b2733", font, anchor="lm")
    write_atomically(path, lambda part: image.save(part, format="PNG", optimize=True))
