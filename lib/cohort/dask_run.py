"""A run on Dask workers: a series is a task, and each worker loads the model once."""

from __future__ import annotations

import contextlib
import functools
import shutil
import sqlite3
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.cohort.job import Job, Outcome
from lib.datastore.catalog import Series
from lib.errors import UserError, in_one_line
from lib.exports.formats import ExportFormat

if TYPE_CHECKING:
    from distributed import Client

    from lib.cohort.series_segmenter import SeriesSegmenter

_INDEX = "index.sqlite"


def new_job(studies: str, conf: Mapping[str, str], pinned: Path, output: Path, formats: Sequence[ExportFormat]) -> Job:
    """Return the job of a run, and copy the index of a folder for its workers.

    SQLite files cannot be shared between hosts, so each worker copies this one.
    """
    index = pinned / "cache" / _INDEX
    if index.exists():
        with (
            contextlib.closing(sqlite3.connect(index)) as source,
            contextlib.closing(sqlite3.connect(pinned / _INDEX)) as copy,
        ):
            source.backup(copy)
    return Job(uuid.uuid4().hex, studies, tuple(conf.items()), pinned.resolve(), output.resolve(), tuple(formats))


def run_on(
    client: Client, job: Job, series: Sequence[Series], task: Callable[[Job, Series], Outcome] | None = None
) -> Iterator[Outcome]:
    """Yield the outcome of each series as it completes.

    As many tasks are sent as workers can compute at once: a worker that dies takes none with it that waits.

    Args:
        client: Client of the workers.
        job: The job.
        series: The series.
        task: Function that a worker calls for each series; `segment_series` if None.

    Raises:
        UserError: The scheduler is gone; the same command continues the run.
    """
    from distributed import as_completed

    waiting = iter(series)
    running: dict[Any, str] = {}
    completed = as_completed(loop=client.loop)

    def send() -> None:
        places = max(1, sum(client.nthreads().values()))
        while len(running) < places and (one := next(waiting, None)) is not None:
            future = client.submit(task or segment_series, job, one, key=f"series-{job.key}-{one.uid}", pure=False)
            running[future.key] = one.uid
            completed.add(future)

    with _while_connected():
        send()
        while running:
            future = next(completed)
            if future.status == "cancelled":
                raise OSError("the scheduler has lost its tasks")
            uid = running.pop(future.key)
            yield _outcome(future, uid)
            send()


def _outcome(future: Any, uid: str) -> Outcome:
    from distributed import KilledWorker

    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, KilledWorker):
        return Outcome(uid, reason="two workers died while they segmented it, so it is set aside")
    return Outcome(uid, reason=in_one_line(error))


@contextlib.contextmanager
def _while_connected() -> Iterator[None]:
    try:
        yield
    except (OSError, StopIteration, TimeoutError) as error:
        raise UserError(
            f"The Dask scheduler is gone ({in_one_line(error)}). What was finished is kept; the same command continues."
        ) from error


def segment_series(job: Job, series: Series) -> Outcome:
    """Segment a series; called in a worker."""
    segmenter = _segmenter(job)
    segmenter.list_only(series)
    return segmenter.attempt(series)


@functools.lru_cache(maxsize=1)
def _segmenter(job: Job) -> SeriesSegmenter:
    """Load the app once for all series of a job."""
    from distributed import get_worker

    from lib.app import MyApp  # loads PyTorch: only where a series is segmented
    from lib.cohort.pinned_model import share_pinned
    from lib.cohort.series_segmenter import SeriesSegmenter
    from lib.settings import APP_DIR

    # Removed with the folder of the worker, also after the worker was killed.
    work = Path(tempfile.mkdtemp(prefix="lunglabel-", dir=get_worker().local_directory))
    if (job.pinned / _INDEX).exists():
        (work / "cache").mkdir()
        shutil.copyfile(job.pinned / _INDEX, work / "cache" / _INDEX)
    conf = {**dict(job.conf), **share_pinned(job.pinned, work)}
    return SeriesSegmenter(MyApp(str(APP_DIR), job.studies, conf), job.output, job.formats)
