"""Replay of a user's first labels on whole scans: what a retraining does to patients that it never sees."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from PIL.Image import Image

from lib.inference import ModelDescription, WeightsFile
from lib.inference.candidate_judge import CandidateJudge
from lib.publishing import ModelStore
from lib.publishing.folds import Folds
from lib.publishing.gate import PatientScores, Summary
from lib.publishing.measurement import measure
from lib.simulation.line_plot import line_plot, write_plots
from lib.trainers import LungTumorTrainTask
from lib.trainers.unfinished_run import UnfinishedRun
from lib.training.scans import LabelledImage

_SCORES = "| Dice before | after | false findings before | after |"
_REFUSED = "refused"


@dataclass(frozen=True)
class Step:
    """One training, and the patient it is measured on.

    Attributes:
        patient: Patient that is measured and never trained on.
        labelled: Patients that are labelled and trained on.
    """

    patient: str
    labelled: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the file of its result."""
        return f"{self.patient}-{len(self.labelled)}"


def steps_of(patients: Sequence[str], counts: Sequence[int]) -> Iterator[Step]:
    """Yield the trainings: each patient is left out, and the next ones in a circle are labelled.

    So each patient is labelled as often as any other.

    Args:
        patients: All patients.
        counts: Numbers of labelled patients; those that leave nobody to measure are skipped.
    """
    for count in sorted(counts):
        for index, patient in enumerate(patients):
            if count < len(patients):
                others = [*patients[index + 1 :], *patients[:index]]
                yield Step(patient, tuple(others[:count]))


class Replay:
    """Trainings with the code of the server, from the same weights.

    Args:
        cases: Whole scans with their masks.
        weights: Weights to start from.
        info: ``info.yaml``.
        model: The model without its weights.
        judges: Second stage to start from by the patient that it left out, instead of the model's.
        folder: Folder for temporary files.
    """

    def __init__(
        self,
        cases: Sequence[LabelledImage],
        weights: Path,
        *,
        info: dict[str, Any],
        model: ModelDescription,
        judges: Mapping[str, CandidateJudge] = MappingProxyType({}),
        folder: Path,
    ) -> None:
        self._cases = [
            {"image": str(one.image), "label": str(one.mask), "image_id": one.name, "patient_id": one.patient}
            for one in cases
        ]
        self._weights = weights
        self._info = info
        self._model = model
        self._judges = judges
        self._folder = folder

    @property
    def patients(self) -> set[str]:
        """All patients that a training may learn."""
        return {case["patient_id"] for case in self._cases}

    def before(self, patient: str) -> dict[str, Any]:
        """Return the scores of a patient with the weights to start from."""
        return {"scores": self._measured(self._weights, patient)}

    def after(self, step: Step) -> dict[str, Any]:
        """Train on the labelled patients as the server does, and measure the patient left out.

        Returns:
            Scores with the version that the server keeps, whether or not it puts it into use; what is new in that
            version (``learned``), and the gate's ``outcome`` and ``reason``.
        """
        store = self._new_store()
        version = self._train(store, step.labelled, self._model_without(step.patient), {})
        kept = store.manifest(version) or {}
        return {
            "scores": self._measured(store.weights(version), step.patient),
            "learned": kept["learned"],
            **{name: kept["verdict"][name] for name in ("outcome", "reason")},
        }

    def rounds(self, count: int) -> Iterator[tuple[list[str], Path]]:
        """Train again and again as the server does, and put every version into use.

        In each round one more patient is labelled, until all are.

        Args:
            count: Number of trainings.

        Yields:
            The labelled patients of a round, and the weights of its version.
        """
        store, patients = self._new_store(), sorted(self.patients)
        for number in range(1, count + 1):
            version = self._train(store, patients[:number], self._model, {"folds": 0})
            store.serve(version, why="replay")
            yield patients[:number], store.weights(version)

    def _new_store(self) -> ModelStore:
        shutil.rmtree(self._folder, ignore_errors=True)
        return ModelStore(self._folder, self._weights)

    def _train(
        self, store: ModelStore, labelled: Collection[str], model: ModelDescription, request: dict[str, Any]
    ) -> str:
        """Return the version that a training on the labelled patients keeps."""
        unfinished = UnfinishedRun(self._folder / "training.json")
        folds = Folds(self._folder / "folds.json")
        train = LungTumorTrainTask(str(self._folder / "task"), model, self._info, store, folds, unfinished)
        cases = [case for case in self._cases if case["patient_id"] in labelled]
        return train(request, _Labelled(cases))["version"]  # type: ignore[arg-type]

    def _measured(self, weights: Path, patient: str) -> dict[str, Any]:
        model = self._model_without(patient)
        (scores,) = measure({0: WeightsFile(weights)}, {patient: 0}, self._cases, model).values()
        return asdict(scores)

    def _model_without(self, patient: str) -> ModelDescription:
        return replace(self._model, judge=self._judges.get(patient, self._model.judge))


class _Labelled:
    """Part of the datastore that a training uses."""

    def __init__(self, cases: list[dict[str, Any]]) -> None:
        self._cases = cases

    def pinned_datalist(self) -> list[dict[str, Any]]:
        return self._cases

    def some_unlabelled(self, count: int) -> dict[Path, str]:
        return {}

    def rejected(self, image_id: str) -> list[tuple[int, ...]]:
        return []


def table(before: Mapping[str, Mapping[str, Any]], after: Mapping[Step, Mapping[str, Any]]) -> str:
    """Return a Markdown table of each patient, and one of the means, by number of labelled patients.

    In the means, the refused versions are not used, as on the server; a version that a person has to decide on is.

    Args:
        before: Results of each patient before any training.
        after: Results of the patient left out of each training.
    """
    rows = [
        "| patient left out | labelled | Dice before | after | false findings before | after | new | gate |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for step, result in after.items():
        old, new = before[step.patient]["scores"], result["scores"]
        rows.append(
            f"| {step.patient} | {', '.join(step.labelled)} | {old['dice']:.3f} | {new['dice']:.3f} "
            f"| {old['false_findings']:g} | {new['false_findings']:g} | {result['learned']} | {result['outcome']} |"
        )
    rows += ["", f"| labelled patients | refused {_SCORES}", "|---|---|---|---|---|---|"]
    for one in means(before, after):
        rows.append(
            f"| {one.labelled} | {one.refused} of {one.measured} | {one.before.dice:.3f} | {one.in_use.dice:.3f} "
            f"| {one.before.false_positives:.2f} | {one.in_use.false_positives:.2f} |"
        )
    return "\n".join(rows)


@dataclass(frozen=True)
class Means:
    """Means over the patients left out, by number of labelled patients.

    Attributes:
        labelled: Number of labelled patients.
        measured: Number of patients left out.
        refused: Number of them whose version the gate refused.
        before: With the weights to start from.
        kept: With the new versions, whatever the gate said.
        in_use: With the new versions, or the weights to start from where the gate refused.
    """

    labelled: int
    measured: int
    refused: int
    before: Summary
    kept: Summary
    in_use: Summary


def means(before: Mapping[str, Mapping[str, Any]], after: Mapping[Step, Mapping[str, Any]]) -> list[Means]:
    """Return the means of the results, see `table`."""
    found = []
    for count in sorted({len(step.labelled) for step in after}):
        kept = {step.patient: result for step, result in after.items() if len(step.labelled) == count}
        refused = {patient for patient, result in kept.items() if result["outcome"] == _REFUSED}
        start = {patient: before[patient] for patient in kept}
        in_use = kept | {patient: before[patient] for patient in refused}
        found.append(Means(count, len(kept), len(refused), _summary(start), _summary(kept), _summary(in_use)))
    return found


def write_plot(found: Sequence[Means], path: Path) -> None:
    """Plot Dice and false findings against the number of labelled patients as a PNG.

    Args:
        found: Result of `means`, not empty.
        path: Path of the file.
    """

    def plot(name: str, title: str, y_step: float) -> Image:
        first = (0, getattr(found[0].before, name))
        lines = {
            label: [first, *((one.labelled, getattr(getattr(one, kind), name)) for one in found)]
            for kind, label in (("kept", "every version"), ("in_use", "not refused"))
        }
        return line_plot(lines, title, "labelled patients", y_step=y_step)

    patients = f"{found[0].measured} patients never trained on"
    write_plots([plot("dice", f"Dice, {patients}", 0.05), plot("false_positives", "False findings a scan", 0.5)], path)


def _summary(results: Mapping[str, Mapping[str, Any]]) -> Summary:
    return Summary.of({patient: PatientScores(**one["scores"]) for patient, one in results.items()})
