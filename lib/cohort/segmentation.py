"""Segmentation on Dask workers: a series is a task, and each worker loads the model once."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lib.cluster.tasks import run_tasks
from lib.cohort.job import Job, Outcome
from lib.cohort.shared_index import share_index, workspace_of_worker
from lib.datastore.catalog import Series
from lib.exports.formats import ExportFormat
from lib.settings import Settings

if TYPE_CHECKING:
    from distributed import Client

    from lib.cohort.series_segmenter import SeriesSegmenter


def new_job(
    settings: Settings, conf: Mapping[str, str], pinned: Path, output: Path, formats: Sequence[ExportFormat]
) -> Job:
    """Return the job of a run, and copy the index of a folder for its workers.

    User and password of a PACS are not part of it. Processes of this machine and Slurm jobs inherit them in their
    environment; workers of a running cluster must have them in theirs.
    """
    share_index(pinned / "cache", pinned)
    return Job(
        uuid.uuid4().hex, settings.studies, tuple(conf.items()), pinned.resolve(), output.resolve(), tuple(formats)
    )


def run_on(
    client: Client, job: Job, series: Iterable[Series], task: Callable[[Job, Series], Outcome] | None = None
) -> Iterator[Outcome]:
    """Yield the outcome of each series as it completes.

    Args:
        client: Client of the workers.
        job: The job.
        series: The series.
        task: Function that a worker calls for each series; `segment_series` if None.

    Raises:
        UserError: The scheduler is gone; the same command continues the run.
    """
    for done in run_tasks(client, functools.partial(task or segment_series, job), series):
        yield done.result or Outcome(done.item.uid, reason=done.problem)


def segment_series(job: Job, series: Series) -> Outcome:
    """Segment a series; called in a worker."""
    segmenter = _segmenter(job)
    segmenter.list_only(series)
    return segmenter.attempt(series)


@functools.lru_cache(maxsize=1)
def _segmenter(job: Job) -> SeriesSegmenter:
    """Load the app once for all series of a job."""
    from lib.app import MyApp  # loads PyTorch: only where a series is segmented
    from lib.cohort.pinned_model import share_pinned
    from lib.cohort.series_segmenter import SeriesSegmenter
    from lib.settings import APP_DIR

    work = workspace_of_worker(job.pinned)
    conf = {**dict(job.conf), **share_pinned(job.pinned, work)}
    return SeriesSegmenter(MyApp(str(APP_DIR), job.studies, conf), job.output, job.formats)
