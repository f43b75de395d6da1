"""A reader study in the server: what its users see, and the thread that works for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lib.activelearning.background import compute_on_one_core
from lib.datastore.series_datastore import SeriesDatastore
from lib.inference.model_description import ModelDescription
from lib.publishing import ModelStore
from lib.reading.compared_outlines import ComparedOutlines
from lib.reading.conclusions import Conclusions
from lib.reading.making_outlines import MakingOutlines, check_compared
from lib.reading.preference_answers import Answers
from lib.reading.reading_list import StudyPlan
from lib.reading.stored_readings import StudyLabels
from lib.server.study_views import StudyViews
from lib.settings import Settings


@dataclass(frozen=True)
class ServedStudy:
    """A study in the server.

    Attributes:
        views: What each user may see.
        worker: Thread that draws conclusions from the labels of readers, or makes the outlines to compare.
    """

    views: StudyViews
    worker: Conclusions | MakingOutlines


def labelling_study(
    plan: StudyPlan, datastore: SeriesDatastore, settings: Settings, after: Callable[[str], object]
) -> ServedStudy:
    """Return a study in which readers label.

    Args:
        plan: The study.
        datastore: Images and labels.
        settings: Settings with the folder for temporary files.
        after: Called with the image of each conclusion that was stored.
    """
    study = StudyLabels(datastore.labels, plan)
    conclusions = Conclusions(study, datastore, settings.temporary_dir, after)
    return ServedStudy(StudyViews(study, conclusions, datastore.catalog), conclusions)


def preference_study(
    plan: StudyPlan,
    datastore: SeriesDatastore,
    settings: Settings,
    models: ModelStore,
    model: ModelDescription,
    before_each: Callable[[], object],
) -> ServedStudy:
    """Return a study in which readers say which of two outlines is better.

    Args:
        plan: The study.
        datastore: Images and labels.
        settings: Settings with the workspace and the folder for temporary files.
        models: Versions of the model, of which the study compares some.
        model: The model without its weights.
        before_each: Called before each outline is made; may wait.

    Raises:
        UserError: A version that the study compares does not exist.
    """
    check_compared(plan, models)
    study = StudyLabels(datastore.labels, plan)
    compared = ComparedOutlines(study, Answers(settings.workspace, plan.study.name))
    making = MakingOutlines(
        plan,
        datastore,
        models,
        model,
        settings.temporary_dir,
        before_each=before_each,
        on_thread=compute_on_one_core,
        after=compared.questions,  # which takes a second for each case, so that no reader waits for it
    )
    return ServedStudy(StudyViews(study, None, datastore.catalog, compared), making)
