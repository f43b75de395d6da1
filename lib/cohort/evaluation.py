"""Measurement of models on images with masks, in this process or in workers."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.cluster.tasks import run_tasks
from lib.cluster.workers import Workers, connected
from lib.errors import UserError
from lib.evaluation.measuring import Case, MeasuredCase, measure_case
from lib.inference import ModelDescription, PinnedWeights, Predictor
from lib.inference.candidate_judge import CLASSIFIER_FILE
from lib.settings import APP_DIR
from lib.training.run_manifest import info_as_trained


@dataclass(frozen=True)
class Evaluation:
    """What is measured.

    Attributes:
        models: Name and weights; the same files for all workers.
        crf: Whether to refine with the CRF.
        robustness: See `lib.evaluation.cases.evaluate_case`.
        limits: See `lib.evaluation.cases.evaluate_case`.
    """

    models: tuple[tuple[str, PinnedWeights], ...]
    crf: bool
    robustness: bool
    limits: tuple[float, ...]

    @classmethod
    def of(cls, models: Mapping[str, Path], *, crf: bool, robustness: bool, limits: Sequence[float]) -> Evaluation:
        """Return the evaluation of weights as they are now."""
        named = tuple((name, PinnedWeights.of(path)) for name, path in models.items())
        return cls(named, crf, robustness, tuple(limits))


def evaluate_cases(
    evaluation: Evaluation, cases: Sequence[Case], workers: Workers | None, scratch: Path
) -> Iterator[tuple[Case, MeasuredCase]]:
    """Yield what is measured on each image, as it completes.

    Args:
        evaluation: What is measured.
        cases: The images, with absolute paths.
        workers: Where to compute; None for this process.
        scratch: Folder for the temporary files of workers on this machine.

    Raises:
        UserError: An image cannot be measured; a table without it would not be that of these images.
    """
    measure = functools.partial(measure_on, evaluation)
    if workers is None:
        yield from ((case, measure(case)) for case in cases)
        return
    with connected(workers, scratch) as client:
        for done in run_tasks(client, measure, cases):
            if done.result is None:
                raise UserError(f"{done.item[0]} could not be measured: {done.problem}")
            yield done.item, done.result


def measure_on(evaluation: Evaluation, case: Case) -> MeasuredCase:
    """Measure all models on one image; called in this process or in a worker."""
    return measure_case(case, _predictors(evaluation), robustness=evaluation.robustness, limits=evaluation.limits)


def model_of(weights: Path, crf: bool) -> ModelDescription:
    """Return the model of info.yaml, with network and preprocessing of the weights' manifest if they have one.

    The classifier of findings is the one beside the weights, or the shipped one.
    """
    info = info_as_trained(weights, ("network", "preprocessing"))
    info["config"]["infer"]["crf"] = crf
    beside = (weights.parent / CLASSIFIER_FILE).exists()
    return ModelDescription.from_info(info, weights.parent if beside else APP_DIR / "model")


@functools.lru_cache(maxsize=1)
def _predictors(evaluation: Evaluation) -> dict[str, Predictor]:
    """Load the models once for all images."""
    predictors = {
        name: Predictor(model_of(weights.path, evaluation.crf), weights) for name, weights in evaluation.models
    }
    for predictor in predictors.values():
        predictor.load()
    return predictors
