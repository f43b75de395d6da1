"""``python main.py evaluate --clicks N``: accuracy of the model for clicks with simulated users."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lib.clicks.automatic import AutomaticModel
from lib.clicks.lesion_image import LesionImage, read_lesion_image
from lib.clicks.model import ClickModel
from lib.clicks.open_images import OpenImage
from lib.clicks.predictor import ClickPredictor, Outline
from lib.clicks.prompts import Prompts
from lib.clicks.region import Region
from lib.evaluation.click_curve import PLANES, ClickedLesion, click_through, clickable, lesion_regions
from lib.evaluation.click_report import render_clicks
from lib.evaluation.click_summary import LesionResult, summarize_clicks
from lib.evaluation.figures import slice_strip
from lib.evaluation.textures import Texture
from lib.inference import WeightsFile
from lib.storage.atomic import write_atomically, write_json
from lib.training.click_fitting import SECTIONS
from lib.training.run_manifest import info_as_trained
from lib.training.scans import LabelledImage

logger = logging.getLogger(__name__)

_SHOWN = 12


def evaluate_clicks(
    cases: Sequence[LabelledImage],
    models: Mapping[str, Path],
    textures: Mapping[str, Texture],
    output: Path,
    *,
    automatic: AutomaticModel | None,
    clicks: int,
    places: int,
    measured_on: str,
) -> None:
    """Measure each model on each lesion and write ``metrics.json`` and ``report.html``.

    Args:
        cases: Images with masks.
        models: Weights by name.
        textures: Texture by name of the case, where it is known.
        output: Folder of the results.
        automatic: The model for whole scans that also counts.
        clicks: Clicks on each lesion.
        places: Places of the first click, for its spread; 0 leaves this out.
        measured_on: Description of the images, in a sentence.
    """
    predictors = {name: _Timed(path, automatic) for name, path in models.items()}
    results: dict[str, list[LesionResult]] = {name: [] for name in predictors}
    shown: list[dict[str, Any]] = []
    for number, case in enumerate(cases, start=1):
        image = read_lesion_image(case.name, case.patient, case.image, case.mask)
        for truth in clickable(lesion_regions(image)):
            for name, predictor in predictors.items():
                results[name].append(_measured(predictor, image, truth, clicks, places))
            found = next(reversed(results.values()))[-1].any_plane
            shown = _worst([*shown, {"dice": found.dice, "title": _title(found), "strip": _strip(image, truth, found)}])
        dice = {name: [round(d, 2) for d in found[-1].any_plane.dice] for name, found in results.items() if found}
        logger.info("%d of %d: %s %s", number, len(cases), case.name, dice)
    summaries = {name: summarize_clicks(found, textures) for name, found in results.items()}
    records = {name: [_record(one, textures) for one in found] for name, found in results.items()}
    write_json(output / "metrics.json", {"measured_on": measured_on, "models": summaries, "cases": records})
    page = render_clicks(measured_on, summaries, shown)
    write_atomically(output / "report.html", lambda path: path.write_text(page, encoding="utf-8"))
    logger.info("Written: %s", output / "report.html")


class _Timed(ClickPredictor):
    """Predictor that notes the duration of each outline."""

    def __init__(self, weights: Path, automatic: AutomaticModel | None) -> None:
        model = ClickModel.from_info(info_as_trained(weights, SECTIONS))
        super().__init__(model, WeightsFile(weights), automatic)
        self.load()
        self.seconds: list[float] = []

    def outline(self, image: OpenImage, prompts: Prompts) -> Outline:
        start = time.perf_counter()
        outline = super().outline(image, prompts)
        self.seconds.append(time.perf_counter() - start)
        return outline


def _measured(predictor: _Timed, image: LesionImage, truth: Region, clicks: int, places: int) -> LesionResult:
    predictor.seconds = []
    return LesionResult(
        patient=image.patient,
        any_plane=click_through(predictor, image, truth, clicks),
        planes={plane: click_through(predictor, image, truth, clicks, plane=plane) for plane in PLANES},
        first_dice=[click_through(predictor, image, truth, 1, seed=1 + place).dice[0] for place in range(places)],
        seconds=predictor.seconds,
    )


def _worst(examples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(examples, key=lambda example: example["dice"][0])[:_SHOWN]


def _title(found: ClickedLesion) -> str:
    dice = ", ".join(f"{value:.2f}" for value in found.dice)
    return f"{found.name}, {found.diameter_mm:.0f} mm: Dice {dice}"


def _strip(image: LesionImage, truth: Region, found: ClickedLesion) -> str:
    """Return the slice with the largest area of the lesion, with the outline after each click, as a data URL."""
    x, y, z = image.image.grid.spacing
    masks = [_placed(region, image).transpose() for region in (truth, *found.masks)]
    outlines = {str(click): mask for click, mask in enumerate(masks[1:], start=1)}
    return slice_strip(np.asarray(image.image.hu).transpose(), masks[0], outlines, (x, y, z))


def _placed(region: Region, image: LesionImage) -> np.ndarray:
    mask = np.zeros(image.image.grid.shape, bool)
    mask[region.window] = region.mask
    return mask


def _record(result: LesionResult, textures: Mapping[str, Texture]) -> dict[str, Any]:
    """Return the entry of one lesion in metrics.json."""
    lesion = result.any_plane
    texture = textures.get(lesion.name)
    return {
        "name": lesion.name,
        "diameter_mm": lesion.diameter_mm,
        "texture": texture.value if texture else None,
        "dice": list(lesion.dice),
        "planes": {plane: list(found.dice) for plane, found in result.planes.items()},
        "first_dice": list(result.first_dice),
        "seconds": list(result.seconds),
    }
