"""Conclusion of a training of the automatic model: its second stage, the comparison, and the version that is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from lib.cluster.background import BackgroundCluster
from lib.datastore.series_datastore import SeriesDatastore
from lib.inference import ModelDescription, WeightsContent, WeightsFile, WeightsSource
from lib.inference.finite import NotFiniteError
from lib.publishing import ModelStore
from lib.publishing.folds import Folds, patient_of
from lib.publishing.gate import PatientScores, Rule, Scores, Summary, Verdict
from lib.publishing.measurement import Elsewhere, measure
from lib.publishing.unlabelled import Marked, marked_volumes, with_volumes
from lib.trainers.candidate import Candidate, Part, why_not_measured
from lib.trainers.comparison import compare_variants
from lib.trainers.kept_version import keep, still_valid
from lib.trainers.second_stage import (
    NETWORK,
    candidate_predictors,
    keep_outputs,
    labelled_candidates,
    tune_judges,
    variants_of,
)
from lib.trainers.start_weights import StartWeights, save
from lib.trainers.unfinished_run import Run
from lib.training.candidate_tuning import FEWEST_SCANS

Report = Callable[[int, int, float], None]
"""Receives how many measurements are done, of how many, and the mean Dice of the patients of the new network so far."""

_UNLABELLED_SCANS = 2
_OUTPUTS = "outputs"  # folder of the run with what the networks returned


@dataclass(frozen=True)
class Trained:
    """Trained networks, and what they were trained on.

    Attributes:
        run: The training.
        settings: Its settings.
        start: The weights it started from.
        parts: Its parts.
        candidate: The networks, with the second stage in use.
        cases: All labelled cases.
    """

    run: Run
    settings: Mapping[str, Any]
    start: StartWeights
    parts: Sequence[Part]
    candidate: Candidate
    cases: list[dict[str, Any]]

    @property
    def outputs(self) -> Path:
        """Folder for what the networks return."""
        return Path(self.run.folder) / _OUTPUTS

    @property
    def fewest_scans(self) -> int:
        """Smallest number of scans that a part was trained on."""
        return min(sum(patient_of(case) in part.patients for case in self.cases) for part in self.parts)


class Conclusion:
    """Trains the second stage, compares what was learned with the version in use, and keeps the best of it.

    Args:
        model: The model without its weights.
        info: ``info.yaml``.
        store: Store of the versions.
        folds: Folds of the patients.
        cluster: Where patients are measured while it is there; None to measure all in this process.
    """

    def __init__(
        self,
        model: ModelDescription,
        info: dict[str, Any],
        store: ModelStore,
        folds: Folds,
        cluster: BackgroundCluster | None = None,
    ) -> None:
        self._model = model
        self._info = info
        self._store = store
        self._folds = folds
        self._cluster = cluster
        self.rule = Rule(**info["publish"])

    def draw(self, trained: Trained, datastore: SeriesDatastore, report: Report) -> tuple[str, Verdict]:
        """Return the version that is kept, and the verdict on it; it is in use if the verdict says so.

        Args:
            trained: What was trained.
            datastore: The images, and the findings that readers rejected.
            report: Called after each measurement of a patient.
        """
        variants = self._variants(trained, datastore)
        compared_with, learned, verdict = self._compare(trained, variants, report)
        candidate = variants[learned]
        if verdict.outcome == "kept" and compared_with:
            verdict = with_volumes(verdict, self._marked_volumes(compared_with, candidate, datastore))
        version = keep(
            self._store,
            candidate,
            verdict,
            run=trained.run,
            start=trained.start,
            cases=trained.cases,
            compared_with=compared_with,
            learned=learned,
            settings={name: trained.settings[name] for name in self._info["config"]["train"]},
            rule=self._info["publish"],
        )
        return version, verdict

    def measure(
        self,
        weights: Mapping[int, WeightsSource],
        folds: Mapping[str, int],
        *,
        cases: Sequence[dict[str, Any]],
        folder: Path,
        outputs: Path | None = None,
        after_each: Callable[[PatientScores], object] = lambda scores: None,
    ) -> Scores:
        """Return the scores of weights on the patients of their folds; see `measurement.measure`.

        Args:
            weights: Weights of each fold.
            folds: Folds of the patients to measure on.
            cases: All labelled cases.
            folder: Folder of the run.
            outputs: Folder that keeps the outputs of the networks.
            after_each: Called with the scores of each patient.
        """
        return measure(weights, folds, cases, self._model, outputs, self._elsewhere(folder), after_each)

    def _elsewhere(self, folder: Path) -> Elsewhere | None:
        return Elsewhere(self._cluster, folder) if self._cluster else None

    def _variants(self, trained: Trained, datastore: SeriesDatastore) -> dict[str, Candidate]:
        """Return what can be put into use; without a second stage, or without training it, only the network."""
        start, steps = trained.start, trained.settings["second_stage_steps"]
        starts = {part.fold: start.origin.judge(part.fold) or self._model.judge for part in trained.parts}
        judges = {fold: judge for fold, judge in starts.items() if judge}
        if not judges or not steps or trained.fewest_scans < FEWEST_SCANS:
            return {NETWORK: trained.candidate}
        folder = Path(trained.run.folder)
        former = save(start.origin.state(None), folder / "start.pt") if start.version else trained.candidate.weights
        if elsewhere := self._elsewhere(folder):
            keep_outputs(trained.cases, trained.candidate, self._model, trained.outputs, elsewhere)
        predictor_of = candidate_predictors(trained.candidate, former, self._model, trained.outputs)
        try:
            scans = labelled_candidates(trained.cases, predictor_of, datastore.rejected)
        except NotFiniteError:  # the comparison refuses such a network, and the version says so
            return {NETWORK: trained.candidate}
        tuned = tune_judges(judges, scans, trained.parts, steps=steps, seed=trained.settings["seed"])
        if not tuned:
            return {NETWORK: trained.candidate}
        return variants_of(trained.candidate, tuned, start, folder).by_name()

    def _compare(
        self, trained: Trained, variants: Mapping[str, Candidate], report: Report
    ) -> tuple[str | None, str, Verdict]:
        """Return the version in use, the best variant, and the verdict on it."""
        patients = {patient_of(case) for case in trained.cases}
        why = why_not_measured(patients, self._folds, trained.settings["folds"])

        done, of_new = count(1), dict[str, PatientScores]()
        models = len(variants) + (self._store.serving_version() is not None)

        def measured(weights: Mapping[int, WeightsSource], folds: Mapping[str, int]) -> Scores:
            def after_each(scores: PatientScores) -> None:
                if len(of_new) < len(folds):  # the new network is measured first
                    of_new[str(len(of_new))] = scores
                report(next(done), models * len(folds), Summary.of(of_new).dice)

            folder = Path(trained.run.folder)
            return self.measure(
                weights, folds, cases=trained.cases, folder=folder, outputs=trained.outputs, after_each=after_each
            )

        serving, learned, verdict = compare_variants(self._store, variants, measured, self.rule, why)
        verdict = still_valid(verdict, self._store, serving)
        if learned != next(iter(variants)):
            verdict = replace(verdict, reason=f"{verdict.reason} Only its {learned} is new.")
        return serving, learned, verdict

    def _marked_volumes(self, serving: str, candidate: Candidate, datastore: SeriesDatastore) -> list[Marked]:
        """Return what the candidate and the version in use mark on a few scans without a label."""
        before = WeightsContent(self._store.read(serving), serving)
        scans = datastore.some_unlabelled(_UNLABELLED_SCANS)
        return marked_volumes(scans, before, WeightsFile(candidate.weights), self._model)
