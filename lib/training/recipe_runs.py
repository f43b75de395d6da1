"""Training by a recipe, stage by stage: finished runs are kept, and a stopped one is resumed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from lib.errors import UserError
from lib.training.data_folders import DataFolders
from lib.training.data_split import held_out
from lib.training.fitting import fit
from lib.training.recipe import Run
from lib.training.run_manifest import WEIGHTS, is_finished, manifest_of, read_run, refuse_trained_on, settings_of
from lib.training.training_data import TrainingData, check_known, read_training_data

logger = logging.getLogger(__name__)


def train_runs(runs: Sequence[Run], output: Path, info: Mapping[str, Any]) -> None:
    """Do the runs of a recipe in order, each in its folder below ``output``.

    Before the first step, and again with the manifest of each run, it is checked that no run was trained on a patient
    that its weights are to be measured on.

    Args:
        runs: Runs of the recipe.
        output: Folder of all runs.
        info: ``info.yaml``.

    Raises:
        UserError: A folder has a run with other settings or data, or a patient is on both sides.
    """
    cache = output / "volumes"
    checksums = lru_cache(lambda folders: folders.checksums(cache))

    @lru_cache(maxsize=1)  # the runs of a stage follow each other
    def read(folders: DataFolders) -> TrainingData:
        return read_training_data(folders, info, cache)

    check_sides(runs, cache)
    for run in runs:
        folder, initial = output / run.name, output / run.initial / WEIGHTS if run.initial else None
        expected = {
            "settings": settings_of(run.settings, info, initial),
            "left_out": sorted(run.leave_out),
            "checksums": checksums(run.folders),
        }

        def train(run: Run = run, folder: Path = folder, initial: Path | None = initial) -> None:
            data = read(run.folders).leaving_out(run.leave_out)
            fit(data, run.settings, info=info, output=folder, initial=initial)

        train_once(run.name, folder, expected, train, run.unseen)


def train_once(
    name: str, folder: Path, expected: Mapping[str, Any], train: Callable[[], object], unseen: Collection[str]
) -> None:
    """Do a run unless it is finished, and check that its weights never saw the patients they are to be measured on.

    Args:
        name: Name of the run.
        folder: Its folder.
        expected: See `read_run`.
        train: Trains, or resumes the training.
        unseen: The patients to be measured on.

    Raises:
        UserError: The folder has a run with other settings or data, or a patient is on both sides.
    """
    if is_finished(folder, read_run(folder, expected)):
        logger.info("%s is finished.", name)
    else:
        logger.info("Training %s.", name)
        train()
    refuse_trained_on(name, manifest_of(folder / WEIGHTS) or {}, unseen)


def check_sides(runs: Sequence[Run], cache: Path) -> None:
    """Check from names and PatientIDs that no run will be trained on a patient it is to be measured on.

    Args:
        runs: Runs of the recipe.
        cache: Folder for the volumes of DICOM series.

    Raises:
        UserError: A patient to leave out has no images, or the initial weights of a fold are trained on a patient that
            it leaves out, without the recipe saying so, or the other way round.
    """
    patients_of = lru_cache(lambda folders: folders.patients(cache))
    trained_on: dict[str, set[str]] = {}
    for run in runs:
        known = patients_of(run.folders)
        check_known(run.leave_out, known)
        before = trained_on[run.initial] if run.initial else set()
        _check_seen_before(run, before)
        trained_on[run.name] = before | {one for one in known if not held_out(one)} - run.leave_out


def _check_seen_before(run: Run, before: set[str]) -> None:
    seen = run.unseen & before
    if seen:
        raise UserError(
            f"{run.name} is to be measured on {', '.join(sorted(seen))}, but {run.initial}, which it starts from, is "
            f"trained on them. Leave them out there too, or list them under seen_before of the fold."
        )
    wrong = run.seen_before - (run.leave_out & before)
    if wrong:
        raise UserError(
            f"{run.name} lists {', '.join(sorted(wrong))} under seen_before, but it does not leave them out, or no run "
            "before it is trained on them."
        )
