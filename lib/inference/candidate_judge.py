"""Second stage: the confidence of each candidate lesion, and the limit below which candidates are removed."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib.errors import UserError
from lib.inference.candidate_cubes import CHANNELS, FEATURES, CandidateCubes, cubes_in_batches
from lib.networks.candidate_classifier import CandidateClassifier
from lib.networks.weights import entry_of, load_state
from lib.storage.integrity import sha256_of
from lib.transforms.candidates import Candidates

CLASSIFIER_FILE = "candidate_classifier.pt"
CLASSIFIER_ENTRY = "candidate_classifier"  # of a weights file whose network has a second stage of its own
_AT_ONCE = 64  # candidates per forward pass


class CandidateJudge:
    """The classifier of candidates with its calibration. Thread-safe; runs on the CPU.

    Args:
        network: Trained classifier.
        slope: Calibration of the confidence (Platt scaling): factor of the classifier's logit.
        intercept: Calibration: added to the scaled logit.
        operating_points: Pairs of false findings per scan and the smallest confidence that gives them, measured on
            patients that the classifier was not trained on.
        trained_on: Patients of the recipe that the classifier was trained on; their candidates do not calibrate it.
    """

    def __init__(
        self,
        network: CandidateClassifier,
        slope: float = 1.0,
        intercept: float = 0.0,
        operating_points: Sequence[tuple[float, float]] = (),
        trained_on: Iterable[str] = (),
    ) -> None:
        self.network = network.eval()
        self.slope = slope
        self.intercept = intercept
        self.operating_points = sorted(operating_points)
        self.trained_on = frozenset(trained_on)

    @classmethod
    def from_file(cls, path: Path) -> CandidateJudge:
        """Return the judge in a file of `save`, verified against ``<name>.sha256`` in the same folder if there is one.

        Raises:
            UserError: The file is missing, damaged, or of another network.
        """
        remedy = "Restore it from a backup or from the release."
        try:
            checksum = path.with_name(f"{path.name}.sha256")
            if checksum.exists() and checksum.read_text(encoding="ascii").split()[:1] != [sha256_of(path)]:
                raise UserError(f"The classifier of findings at {path} does not match its checksum. {remedy}")
            return cls.from_content(torch.load(io.BytesIO(path.read_bytes()), weights_only=True, map_location="cpu"))
        except UserError:
            raise
        except Exception as error:  # torch raises many kinds for files of other formats
            raise UserError(f"The classifier of findings at {path} cannot be used: {error}. {remedy}") from error

    @classmethod
    def from_content(cls, content: Mapping[str, Any]) -> CandidateJudge:
        """Return the judge of a `content`.

        Raises:
            ValueError: It is of another network, or a value is not finite.
            KeyError: An entry is missing.
            TypeError: An entry is of a wrong type.
            OverflowError: A number is too large.
        """
        if not isinstance(content, Mapping):
            raise TypeError(f"it is a {type(content).__name__}")
        network = new_classifier()
        load_state(network, content["model"])
        points = [(float(findings), float(limit)) for findings, limit in content["operating_points"]]
        slope, intercept = float(content["slope"]), float(content["intercept"])
        values = [*network.state_dict().values(), torch.tensor([slope, intercept, *itertools.chain(*points)])]
        if not all(torch.isfinite(value).all() for value in values):
            raise ValueError("it has values that are not finite")
        return cls(network, slope, intercept, points, map(str, content.get("trained_on", [])))

    def content(self) -> dict[str, Any]:
        """Return network, calibration, operating points and patients as values that torch saves."""
        return {
            "model": self.network.state_dict(),
            "slope": self.slope,
            "intercept": self.intercept,
            "operating_points": [list(point) for point in self.operating_points],
            "trained_on": sorted(self.trained_on),
        }

    def save(self, path: Path) -> None:
        """Write the `content` to a file."""
        torch.save(self.content(), path)

    def __call__(self, image: torch.Tensor, candidates: Candidates) -> np.ndarray:
        """Return the confidence of each candidate, 0 to 1, (count,).

        Args:
            image: Input of the segmentation network, (1, X, Y, Z), normalised.
            candidates: Candidates in the same field.
        """
        batches = cubes_in_batches(image, candidates, _AT_ONCE)
        return self.confidences(np.concatenate([self.logits(cubes) for cubes in batches]))

    @torch.inference_mode()
    def logits(self, cubes: CandidateCubes) -> np.ndarray:
        """Return the classifier's logit of each candidate before calibration, (B,)."""
        if not len(cubes):
            return np.zeros(0, np.float32)
        batches = zip(*(part.split(_AT_ONCE) for part in (cubes.fine, cubes.coarse, cubes.features)), strict=True)
        return torch.cat([self.network(*batch) for batch in batches]).numpy()

    def confidences(self, logits: np.ndarray) -> np.ndarray:
        """Return the calibrated confidence of logits."""
        return 1 / (1 + np.exp(-(self.slope * logits.astype(float) + self.intercept)))

    def min_confidence(self, false_findings_per_scan: float) -> float:
        """Return the smallest confidence to keep for a number of false findings per scan; 0 beyond those measured."""
        if not self.operating_points or false_findings_per_scan > self.operating_points[-1][0]:
            return 0.0
        findings, limits = zip(*self.operating_points, strict=True)
        return float(np.interp(false_findings_per_scan, findings, limits))


def judge_in(weights: bytes, origin: str) -> CandidateJudge | None:
    """Return the second stage in the bytes of a readable weights file; None if it has none of its own.

    Raises:
        UserError: It cannot be used.
    """
    content = entry_of(weights, CLASSIFIER_ENTRY)
    if content is None:
        return None
    try:
        return CandidateJudge.from_content(content)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise UserError(f"The classifier of findings in the weights {origin} cannot be used: {error}.") from error


def new_classifier() -> CandidateClassifier:
    """Return an untrained classifier of candidates."""
    return CandidateClassifier(CHANNELS, FEATURES)
