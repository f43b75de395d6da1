"""The second stage of a recipe: classifier, and the whole scans measured by weights that never saw their patients."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lib.datastore.series_folder import largest_series_volume
from lib.errors import UserError
from lib.evaluation.cases import CaseResult, evaluate_case
from lib.evaluation.measuring import oriented
from lib.evaluation.scan_pictures import MarkedScan, write_pictures
from lib.evaluation.summary import summarize
from lib.inference import ModelDescription, Predictor
from lib.inference.candidate_judge import CLASSIFIER_FILE, CandidateJudge
from lib.storage.atomic import write_atomically, write_json
from lib.storage.integrity import sha256_of
from lib.training.box_annotations import slices_with_boxes
from lib.training.candidate_fitting import ScanLogits
from lib.training.candidate_samples import Ball
from lib.training.data_folders import DataFolders, SourceImage, checksums_of, patient_of
from lib.training.data_split import held_out
from lib.training.recipe import Candidates, CandidateScan, Copies, Run
from lib.training.run_manifest import WEIGHTS, manifest_of, read_json_object
from lib.training.scans import case_names, find_cases, patient_from_file_name
from lib.training.second_stage import SecondStage, WholeScan, collect_samples, nodules_in_lung, train_second_stage

logger = logging.getLogger(__name__)

SCANS_FILE = "whole_scans.json"


def train_candidates(
    recipe: Candidates, runs: Sequence[Run], data: Path, output: Path, info: Mapping[str, Any], ship: str
) -> None:
    """Train the classifier unless it is finished, and put it beside the weights of each fold and the shipped ones.

    The classifiers of folds that share a network are in ``candidates/<fold>`` instead.

    Writes ``candidates/whole_scans.json`` with the result of each whole scan with a mask, by the network and the
    classifier of the fold that left its patient out, and pictures of them, see `write_pictures`.

    Args:
        recipe: Section ``candidates`` of the recipe.
        runs: All runs of the recipe, finished.
        data: Folder that the paths of the recipe are relative to.
        output: Folder of all runs.
        info: ``info.yaml``.
        ship: Name of the run whose weights are shipped.
    """
    files = _files_of(recipe, data, output / "volumes")
    made_from, results = _made_from(recipe, output, ship, files), output / "candidates" / SCANS_FILE
    folders = {fold: _folder_of(fold, recipe, output, ship) for fold in recipe.networks}
    classifiers = [folder / CLASSIFIER_FILE for folder in (output / ship, *folders.values())]
    if all(path.exists() for path in (results, *classifiers)) and _made_from_in(results) == made_from:
        logger.info("candidates is finished.")
        return
    scans = [_whole_scan(scan, _network_of(scan, recipe), recipe, data, output, files) for scan in recipe.scans]
    others = [
        _whole_scan(scan.model_copy(update={"fold": None}), run, recipe, data, output, files)
        for run in recipe.also_learned
        for scan in recipe.scans
    ]
    folds = _folds(scans, recipe, runs)
    _collect(recipe, scans, others, data, output, info, files.measured)
    logger.info("Training the classifier of candidates.")
    result = train_second_stage([*scans, *others], folds=folds, **recipe.settings.model_dump())
    _save(result.judge, output / ship)
    for fold, judge in result.folds.items():
        _save(judge, folders[fold])
    write_json(results, {"made_from": made_from, **_measured(scans, result, runs, recipe, info, results.parent)})


def left_out_classifiers(candidates: Path) -> dict[str, Path]:
    """Return the file of the classifier that left a patient out, by patient, where all folds share one network.

    Args:
        candidates: Folder ``candidates`` that `train_candidates` wrote.

    Raises:
        UserError: The folder has no results, or not the classifier of each fold.
    """
    results = candidates / SCANS_FILE
    if not results.exists():
        raise UserError(f"{results} does not exist. Run python main.py weights with a recipe that has candidates.")
    rows = read_json_object(results)["scans"]
    files = {row["patient"]: candidates / row["fold"] / CLASSIFIER_FILE for row in rows}
    missing = sorted(str(path) for path in files.values() if not path.exists())
    if missing:
        raise UserError(f"{missing[0]} does not exist. Give the folder of a recipe whose folds share one network.")
    return files


def _folder_of(fold: str, recipe: Candidates, output: Path, ship: str) -> Path:
    """Return the folder of the classifier of a fold: that of its network, unless another classifier is there."""
    network = recipe.networks[fold]
    shared = [ship, *recipe.networks.values()].count(network) > 1
    return output / "candidates" / fold if shared else output / network


@dataclass(frozen=True)
class _Files:
    """Checksums of the files that the samples are made from, and the patients that the folds are measured on.

    Attributes:
        scans: Checksum of each scan with its mask, by its path in the recipe.
        nodules: Checksum of the crops whose nodules are set into copies.
        measured: Patients whose nodules are not set into copies: a classifier that leaves them out would see them.
    """

    scans: dict[str, str]
    nodules: str
    measured: frozenset[str]


def _files_of(recipe: Candidates, data: Path, cache: Path) -> _Files:
    sources = {scan.image: _source(scan, data) for scan in recipe.scans}
    measured = frozenset(patient_of(sources[scan.image], cache) for scan in recipe.scans if scan.fold)
    crops = DataFolders((data / recipe.nodules.images,), (data / recipe.nodules.masks,)).checksums(cache)
    return _Files(
        {path: _digest(checksums_of(source, cache)) for path, source in sources.items()},
        _digest([crop for crop in crops if patient_from_file_name(crop["name"]) not in measured]),
        measured,
    )


def _source(scan: CandidateScan, data: Path) -> SourceImage:
    image = data / scan.image
    for path in (image, *([data / scan.mask] if scan.mask else [])):
        if not path.exists():
            raise UserError(f"candidates: {path} does not exist.")
    return SourceImage(case_names([image])[0], image, data / scan.mask if scan.mask else None)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _made_from(recipe: Candidates, output: Path, ship: str, files: _Files) -> dict[str, Any]:
    """Return what determines the classifier: the recipe, the weights of the networks, and the data."""
    networks = sorted({ship, *recipe.networks.values(), *recipe.also_learned})
    return {
        "recipe": recipe.model_dump(mode="json"),
        "weights": {run: sha256_of(output / run / WEIGHTS) for run in networks},
        "scans": files.scans,
        "nodules": files.nodules,
    }


def _made_from_in(results: Path) -> Any:
    return read_json_object(results).get("made_from")


def _network_of(scan: CandidateScan, recipe: Candidates) -> str:
    """Return the run whose network finds the candidates of a scan: that of its fold, or the first without one."""
    return recipe.networks[scan.fold or next(iter(recipe.networks))]


def _whole_scan(
    scan: CandidateScan, network: str, recipe: Candidates, data: Path, output: Path, files: _Files
) -> WholeScan:
    source = _source(scan, data)
    name, image, mask = source
    weights = output / network / WEIGHTS
    patient, unlabelled, volume = patient_of(source, output / "volumes"), frozenset[int](), image
    if image.is_dir():
        series = largest_series_volume(image, output / "volumes")
        volume = series.path
        unlabelled = slices_with_boxes(image, series.sop_uids)
        name = f"{patient}_{name}"
    return WholeScan(
        name=name,
        image=volume,
        mask=mask,
        patient=patient,
        weights=weights,
        samples=output / "candidates" / _samples_key(scan, recipe, weights, files),
        fold=scan.fold,
        ignored=[Ball(tuple(ball.voxel), ball.radius_mm) for ball in scan.ignored],
        unlabelled=unlabelled,
    )


def _samples_key(scan: CandidateScan, recipe: Candidates, weights: Path, files: _Files) -> str:
    """Return a name for the samples of a scan that changes with what they are made from."""
    made_from = {
        "weights": sha256_of(weights),
        "scan": scan.model_dump(mode="json", exclude={"fold"}),
        "recipe": recipe.model_dump(mode="json", include={"threshold", "nodules", "copies"}),
        "seed": recipe.settings.seed,
        "files": [files.scans[scan.image], files.nodules],
    }
    return _digest(made_from)[:16]


def _folds(scans: Sequence[WholeScan], recipe: Candidates, runs: Sequence[Run]) -> dict[str, frozenset[str]]:
    """Return the patients that the classifier of each fold leaves out.

    Raises:
        UserError: The network of a fold is trained on a patient whose scan it is to find candidates in.
    """
    run_of = {run.name: run for run in runs}
    folds: dict[str, frozenset[str]] = {fold: frozenset() for fold in recipe.networks}
    for scan in scans:
        if scan.fold is None:
            continue
        run = run_of[recipe.networks[scan.fold]]
        manifest = manifest_of(scan.weights)
        if manifest is None:
            raise UserError(f"candidates: {scan.weights} has no manifest, so it is unknown whom it was trained on.")
        if scan.patient in manifest["trained_on"] and scan.patient not in run.seen_before:
            raise UserError(f"candidates: {run.name} is trained on {scan.patient}, the patient of {scan.name}.")
        folds[scan.fold] |= {scan.patient}
    return folds


def _collect(
    recipe: Candidates,
    scans: Sequence[WholeScan],
    others: Sequence[WholeScan],
    data: Path,
    output: Path,
    info: Mapping[str, Any],
    measured: Collection[str],
) -> None:
    """Write the samples of all scans, and of copies with nodules of those that are not ``others``."""
    model = ModelDescription.from_info(info)
    if recipe.threshold is not None:
        model = replace(model, options=model.options.model_copy(update={"threshold": recipe.threshold}))
    crops = find_cases([data / recipe.nodules.images], [data / recipe.nodules.masks], output / "volumes")
    nodules = nodules_in_lung([crop for crop in crops if not held_out(crop.patient) and crop.patient not in measured])
    none = Copies(with_nodules=0, nodules=0)
    for scan, copies in [*((scan, recipe.copies) for scan in scans), *((scan, none) for scan in others)]:
        predictor = Predictor.from_file(scan.weights, model)
        seed = recipe.settings.seed
        collect_samples(scan, predictor, nodules, copies=copies, seed=seed)


def _save(judge: CandidateJudge, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / CLASSIFIER_FILE, judge.save)


def _measured(
    scans: Sequence[WholeScan],
    result: SecondStage,
    runs: Sequence[Run],
    recipe: Candidates,
    info: Mapping[str, Any],
    pictures: Path,
) -> dict[str, Any]:
    """Return the result of each scan with a mask, and the summary of those whose patients no weights have seen.

    Writes pictures of the scans into the folder ``pictures``.
    """
    run_of = {run.name: run for run in runs}
    rows, unseen, marked = [], [], []
    model = ModelDescription.from_info(info)
    for scan in scans:
        if scan.fold is None or scan.mask is None:
            continue
        predictor = Predictor.from_file(scan.weights, replace(model, judge=result.folds[scan.fold]))
        found, mask = evaluate_case(scan.name, scan.image, scan.mask, scan.patient, predictor, False)
        hu, (truth, turned), spacing = oriented(scan.image, scan.mask, [mask])
        marked.append(MarkedScan(scan.patient, hu, truth > 0, turned > 0, spacing))
        never_seen = scan.patient not in run_of[recipe.networks[scan.fold]].seen_before
        rows.append(_row(found, scan.fold, never_seen))
        if never_seen:
            unseen.append(found)
        logger.info("%s: Dice %.3f, %d false findings", scan.name, found.counts.dice, found.false_positives)
    if marked:
        write_pictures(marked, pictures)
    return {
        "scans": rows,
        "never_seen": summarize(unseen),
        "operating_points": {fold: judge.operating_points for fold, judge in result.folds.items()},
        "left_out_candidates": {patient: _counts(logits) for patient, logits in result.left_out.items()},
    }


def _counts(logits: Sequence[ScanLogits]) -> dict[str, int]:
    lesions = sum(int(one.lesion.sum()) for one in logits)
    return {"lesions": lesions, "others": sum(len(one.lesion) for one in logits) - lesions}


def _row(result: CaseResult, fold: str, never_seen: bool) -> dict[str, Any]:
    return {
        "scan": result.name,
        "patient": result.patient,
        "fold": fold,
        "first_stage_trained_on_the_patient": not never_seen,
        "dice": result.counts.dice,
        "false_positives": result.false_positives,
        "lesions": [vars(lesion) | {"found": lesion.hit} for lesion in result.lesions],
    }
