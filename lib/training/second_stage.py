"""Training of the second stage: samples of all whole scans, cross-fitting by patient, calibration."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from lib.evaluation.composed_scans import Volume, compose, find_lung, is_in_lung, read_volume, save_volume
from lib.inference import Predictor
from lib.inference.candidate_judge import CandidateJudge
from lib.networks.candidate_classifier import CandidateClassifier
from lib.training.candidate_fitting import ScanLogits, calibrated, fit_classifier, scan_logits
from lib.training.candidate_samples import Ball, CandidateSamples, candidate_samples, load_samples, save_samples
from lib.training.large_tumours import LEAST_TO_ENLARGE_MM, Shape, insert_large_tumours
from lib.training.recipe import Copies
from lib.training.scans import LabelledImage

logger = logging.getLogger(__name__)

FALSE_FINDINGS = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)
_COPY = "+"  # separates the name of a scan from the number of its copy
_LARGE = "large"  # before the number of a copy with large tumours


@dataclass(frozen=True)
class WholeScan:
    """A whole scan whose candidates the classifier learns.

    Attributes:
        name: Name of its files.
        image: Volume.
        mask: Lesions on the same grid, or None without lesions.
        patient: Patient.
        weights: Weights of a network that was not trained on this patient.
        samples: Folder of its samples, for this network.
        fold: Fold whose classifier leaves its patient out; the limits are measured on its scans. None for a scan that
            is only learned.
        ignored: Regions with unlabelled tumour.
        unlabelled: Slices with unlabelled tumour.
    """

    name: str
    image: Path
    mask: Path | None
    patient: str
    weights: Path
    samples: Path
    fold: str | None = None
    ignored: Sequence[Ball] = ()
    unlabelled: Collection[int] = ()


def collect_samples(
    scan: WholeScan,
    predictor: Predictor,
    nodules: Sequence[LabelledImage],
    *,
    copies: Copies,
    seed: int,
) -> None:
    """Write the samples of a scan and of copies with lesions set into its lungs; existing files are kept.

    The lesions are nodules of other patients, or large tumours in the shape of such nodules. Of the copies, only
    candidates on the inserted lesions are kept: the others are those of the scan.

    Args:
        scan: The scan.
        predictor: Its network.
        nodules: Crops with a nodule in lung.
        copies: Numbers of copies and lesions.
        seed: Seed of the choice and placement of the lesions.
    """
    folder = scan.samples
    folder.mkdir(parents=True, exist_ok=True)
    own = folder / f"{scan.name}.pt"
    if not own.exists():
        samples = candidate_samples(predictor, scan.image, scan.mask, ignored=scan.ignored, unlabelled=scan.unlabelled)
        save_samples(samples, own)
    kinds = [("", number) for number in range(copies.with_nodules)]
    kinds += [(_LARGE, number) for number in range(copies.with_large_tumours)]
    missing = [one for one in kinds if not (folder / _copy_file(scan, *one)).exists()]
    if not missing:
        return
    volume = read_volume(scan.name, scan.image, scan.mask)
    lung = find_lung(volume)
    for kind, number in missing:
        rng = np.random.default_rng([seed, number, *f"{scan.name}{kind}".encode()])
        composed, placed = (_with_large_tumours if kind else _with_nodules)(volume, lung, nodules, copies, rng)
        image, mask = save_volume(composed, scan.name, folder / "composed", ".nii")
        samples = candidate_samples(predictor, image, mask)
        save_samples(samples.of_copy(), folder / _copy_file(scan, kind, number))
        logger.info("%s, copy %s%d: %d lesions, %d with a candidate", scan.name, kind, number, placed, samples.found)


def _with_nodules(
    scan: Volume, lung: np.ndarray, crops: Sequence[LabelledImage], copies: Copies, rng: np.random.Generator
) -> tuple[Volume, int]:
    count = min(copies.nodules, len(crops))
    chosen = [crops[index] for index in rng.choice(len(crops), count, replace=False)]
    nodules = [read_volume(crop.name, crop.image, crop.mask, spacing=scan.spacing) for crop in chosen]
    composed, placed = compose(scan, lung, nodules, rng)
    return composed, len(placed)


def _with_large_tumours(
    scan: Volume, lung: np.ndarray, crops: Sequence[LabelledImage], copies: Copies, rng: np.random.Generator
) -> tuple[Volume, int]:
    drawn = (Shape.of(read_volume(*crops[index][:3])) for index in rng.permutation(len(crops)))
    large = (shape for shape in drawn if shape.diameter_mm >= LEAST_TO_ENLARGE_MM)
    return insert_large_tumours(scan, lung, list(islice(large, copies.large_tumours)), rng)


@dataclass(frozen=True)
class SecondStage:
    """Trained second stage.

    Attributes:
        judge: Trained on all scans; confidence and limits are those of the candidates that the folds left out.
        folds: For each fold a judge that has seen none of its patients, neither for training nor for the limits.
        left_out: Logits of the left-out candidates by patient.
    """

    judge: CandidateJudge
    folds: dict[str, CandidateJudge]
    left_out: dict[str, list[ScanLogits]]


def train_second_stage(
    scans: Sequence[WholeScan],
    *,
    folds: Mapping[str, Collection[str]],
    steps: int,
    learning_rate: float,
    seed: int,
) -> SecondStage:
    """Train one classifier for each fold, then one on all scans.

    Args:
        scans: Whole scans, of which `collect_samples` wrote the samples.
        folds: Patients that each fold leaves out, by name.
        steps: See `fit_classifier`.
        learning_rate: See `fit_classifier`.
        seed: See `fit_classifier`.

    Raises:
        ValueError: A fold does not leave out the patient of one of its scans.
    """
    for scan in scans:
        if scan.fold and scan.patient not in folds[scan.fold]:
            raise ValueError(f"{scan.fold} does not leave out patient {scan.patient}.")
    samples = [(scan, _samples_of(scan)) for scan in scans]
    networks: dict[str, CandidateClassifier] = {}
    left_out: dict[str, list[ScanLogits]] = {}
    for name, patients in folds.items():
        logger.info("Second stage without %s", ", ".join(patients))
        trained = [one for scan, group in samples if scan.patient not in patients for one in group]
        networks[name] = fit_classifier(trained, steps=steps, learning_rate=learning_rate, seed=seed)
        judge = CandidateJudge(networks[name])
        for scan, group in samples:
            if scan.fold == name:
                left_out.setdefault(scan.patient, []).extend(scan_logits(judge, one) for one in group)
    every = [one for _, group in samples for one in group]
    network = fit_classifier(every, steps=steps, learning_rate=learning_rate, seed=seed)
    patients = {scan.patient for scan in scans}
    return SecondStage(
        calibrated(network, _logits(left_out), FALSE_FINDINGS, patients),
        {
            name: calibrated(one, _logits(left_out, folds[name]), FALSE_FINDINGS, patients.difference(folds[name]))
            for name, one in networks.items()
        },
        left_out,
    )


def _logits(left_out: Mapping[str, Sequence[ScanLogits]], without: Collection[str] = ()) -> list[ScanLogits]:
    return [one for patient, scans in left_out.items() if patient not in without for one in scans]


def nodules_in_lung(crops: Sequence[LabelledImage]) -> list[LabelledImage]:
    """Return the crops whose nodule is surrounded by lung, which can be inserted into another."""
    return [crop for crop in crops if is_in_lung(read_volume(crop.name, crop.image, crop.mask))]


def _copy_file(scan: WholeScan, kind: str, number: int) -> str:
    return f"{scan.name}{_COPY}{kind}{number}.pt"


def _samples_of(scan: WholeScan) -> list[CandidateSamples]:
    """Return the samples of a scan and its copies."""
    files = [scan.samples / f"{scan.name}.pt", *sorted(scan.samples.glob(f"{scan.name}{_COPY}*.pt"))]
    return [load_samples(file) for file in files]
