"""Pictures of whole scans: what a model outlines, misses and marks wrongly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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

    @property
    def lesion(self) -> np.ndarray:
        """Components of the mask that touch the reference, bool."""
        components, _ = connected_components(self.mask)
        return np.isin(components, np.unique(components[self.truth & self.mask])) & self.mask

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
    ranked = sorted(scans, key=lambda scan: VoxelCounts.of(scan.lesion, scan.truth).dice, reverse=True)
    places = np.linspace(0, len(ranked) - 1, min(_PANELS, len(ranked))).round().astype(int)
    found = [(scan, scan.truth, f"{scan.patient}: Dice {_dice(scan):.2f}") for scan in (ranked[one] for one in places)]
    _write(found, output / "found.png")
    worst = max(scans, key=lambda scan: int((scan.truth & ~scan.mask).sum(dtype=int) * np.prod(scan.spacing)))
    errors = [(worst, worst.truth & ~worst.mask, f"{worst.patient}: largest part that is missing")]
    wrong = [(scan, one) for scan in scans for one in _false_findings(scan)]
    wrong.sort(key=lambda pair: pair[1].sum() * np.prod(pair[0].spacing), reverse=True)
    errors += [(scan, one, f"{scan.patient}: not in the reference") for scan, one in wrong[: _PANELS - 1]]
    _write(errors, output / "missed.png")


def _dice(scan: MarkedScan) -> float:
    return VoxelCounts.of(scan.lesion, scan.truth).dice


def _false_findings(scan: MarkedScan) -> list[np.ndarray]:
    components, count = connected_components(scan.mask & ~scan.lesion)
    return [components == number for number in range(1, count + 1)]


def _write(panels: Sequence[tuple[MarkedScan, np.ndarray, str]], path: Path) -> None:
    step = SIDE_PX + _GAP_PX
    image = Image.new("RGB", (step * len(panels) - _GAP_PX, SIDE_PX + _CAPTION_PX), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size=_FONT_PX)
    for column, (scan, target, caption) in enumerate(panels):
        image.paste(Image.fromarray(scan.panel(target)), (column * step, 0))
        draw.text((column * step + 4, SIDE_PX + _CAPTION_PX // 2), caption, "#1b2733", font, anchor="lm")
    write_atomically(path, lambda part: image.save(part, format="PNG", optimize=True))
