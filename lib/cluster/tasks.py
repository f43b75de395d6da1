"""Tasks on Dask workers: each item is one, and the result of each comes once, whatever dies meanwhile."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from lib.cluster.workers import wait_for_first
from lib.errors import UserError, in_one_line

if TYPE_CHECKING:
    from distributed import Client

Item = TypeVar("Item")
Result = TypeVar("Result")

_LOOK_SECONDS = 5.0  # between two looks for workers that have joined
# Without a worker for so long after there was one, none will come back: Slurm's jobs have reached their limit, or no
# process can be started on this machine.
_DESERTED_SECONDS = 120.0


@dataclass(frozen=True)
class Done(Generic[Item, Result]):
    """A finished task.

    Attributes:
        item: What the task was about.
        result: What its function returned; None if it failed.
        problem: Why it failed; None if it did not.
    """

    item: Item
    result: Result | None = None
    problem: str | None = None


def run_tasks(
    client: Client, function: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[Done[Item, Result]]:
    """Yield each item with its result as it completes.

    As many tasks are sent as workers can compute at once: a worker that dies takes none with it that waits, and the
    memory of the scheduler does not grow with the number of items.

    Args:
        client: Client of the workers.
        function: Called in a worker for each item; sent with every task.
        items: The items.

    Raises:
        UserError: No worker starts, or the scheduler or all workers are gone; the same command continues the run.
    """
    from distributed import TimeoutError as WaitTimeout
    from distributed import wait

    waiting = enumerate(items)
    running: dict[Any, Item] = {}
    run = uuid.uuid4().hex
    last_seen: float | None = None

    def send() -> None:
        nonlocal last_seen
        places, now = sum(client.nthreads().values()), time.monotonic()
        last_seen = now if places else last_seen
        if last_seen is not None and now - last_seen > _DESERTED_SECONDS:
            raise UserError("No worker is left. What was finished is kept; the same command continues.")
        places = max(1, places)
        while len(running) < places and (one := next(waiting, None)) is not None:
            number, item = one
            running[client.submit(function, item, key=f"task-{run}-{number}", pure=False)] = item

    with _while_connected():
        wait_for_first(client)
        send()
        while running:
            finished: Iterable[Any] = ()
            with client.as_current(), contextlib.suppress(WaitTimeout):
                finished = wait([*running], timeout=_LOOK_SECONDS, return_when="FIRST_COMPLETED").done
            for future in finished:
                yield _done(future, running.pop(future))
            send()


def _done(future: Any, item: Item) -> Done[Item, Any]:
    from distributed import KilledWorker

    error = future.exception()
    if error is None:
        return Done(item, future.result())
    if isinstance(error, KilledWorker):
        return Done(item, problem="two workers died while they computed it, so it is set aside")
    return Done(item, problem=str(error) if isinstance(error, UserError) else in_one_line(error))


@contextlib.contextmanager
def _while_connected() -> Iterator[None]:
    from distributed import CancelledError

    try:
        yield
    except (OSError, CancelledError) as error:
        raise UserError(
            f"The Dask scheduler is gone ({in_one_line(error)}). What was finished is kept; the same command continues."
        ) from error
