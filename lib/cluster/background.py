"""A Dask cluster for work that no user waits for; while it is away, the work is done in this process."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from lib import __version__
from lib.errors import UserError, in_one_line

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

_CONNECT_SECONDS = 5
_LOOK_SECONDS = 5  # between two looks whether there are still workers
_RETRY_SECONDS = 60.0


class ClusterAwayError(Exception):
    """The cluster has not done the work, so it is to be done in this process."""


class BackgroundCluster:
    """Connection to a Dask cluster, made again when it was lost.

    Args:
        address: Address of its scheduler; None without a cluster.
        clock: Seconds that only increase.
    """

    def __init__(self, address: str | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._address = address
        self._clock = clock
        self._client: Client | None = None
        self._lock = threading.Lock()  # protects the client and the time of the next attempt
        self._next_attempt = 0.0

    def places(self) -> int:
        """Return how many tasks the cluster can compute at once; 0 if it is away."""
        try:
            return sum(self._connected().nthreads().values())
        except ClusterAwayError:
            return 0
        except Exception as error:  # distributed raises many types when a connection breaks
            self._lose(error)
            return 0

    def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Return what a worker computes; waits for it.

        Raises:
            ClusterAwayError: The cluster is away or cannot do it; it is not asked again for a minute.
            UserError: Two workers died while they computed it, as this process could.
        """
        from distributed import KilledWorker

        try:
            return self._result(function, arguments)
        except KilledWorker as error:
            raise UserError("Two workers of the cluster died while they computed it.") from error
        except ClusterAwayError:
            raise
        except Exception as error:  # of the connection, or of a worker that lacks the files or this version of the app
            self._lose(error)
            raise ClusterAwayError from error

    def map(
        self, function: Callable[[Item], Result], here: Callable[[Item], Result], items: Sequence[Item]
    ) -> list[Result]:
        """Return what workers compute of each item, as many at once as they can.

        Args:
            function: Called in a worker for each item.
            here: Called in this process instead, for one item at a time, if the cluster is away or cannot do it.
            items: The items.

        Raises:
            Exception: What ``here`` raises.
        """
        places = self.places()
        if not places:
            return [here(item) for item in items]
        turn = threading.Lock()

        def compute(item: Item) -> Result:
            with contextlib.suppress(ClusterAwayError, UserError):
                return self.run(function, item)
            with turn:
                return here(item)

        with ThreadPoolExecutor(places, thread_name_prefix="cluster") as waiting:
            return list(waiting.map(compute, items))

    def close(self) -> None:
        """End the connection; work that waits for the cluster is given up."""
        self._address = None
        self._lose(OSError("closed"))

    def _result(self, function: Callable[..., Result], arguments: tuple[Any, ...]) -> Result:
        from distributed import TimeoutError as WaitTimeout

        client = self._connected()
        key = f"background-{uuid.uuid4().hex}"
        future = client.submit(_in_version, __version__, function, *arguments, key=key, pure=False)
        while True:
            with contextlib.suppress(WaitTimeout):
                return future.result(timeout=_LOOK_SECONDS)
            if not client.nthreads():
                future.cancel()
                raise OSError("it has no workers")

    def _connected(self) -> Client:
        with self._lock:
            if self._client is None:
                if self._address is None or self._clock() < self._next_attempt:
                    raise ClusterAwayError
                self._client = self._connect(self._address)
            return self._client

    def _connect(self, address: str) -> Client:
        try:
            from distributed import Client
        except ImportError:
            self._next_attempt = float("inf")
            logger.warning("Dask is not installed, so %s is not used: pip install -e '.[cluster]'", address)
            raise ClusterAwayError from None
        logging.getLogger("distributed").setLevel(logging.ERROR)
        try:
            client = Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
        except Exception as error:  # distributed raises many types
            self._put_off(error)
            raise ClusterAwayError from error
        logger.info("Background work is sent to the cluster at %s", address)
        return client

    def _lose(self, error: Exception) -> None:
        with self._lock:
            client, self._client = self._client, None
            self._put_off(error)
        if client is not None:
            with contextlib.suppress(Exception):  # it is broken already
                client.close(timeout=1)

    def _put_off(self, error: Exception) -> None:
        if self._next_attempt == 0 and self._address:
            logger.warning(
                "The cluster at %s does not work (%s). Background work is done here; it is tried again every %.0f s.",
                *(self._address, in_one_line(error), _RETRY_SECONDS),
            )
        self._next_attempt = self._clock() + _RETRY_SECONDS


def _in_version(version: str, function: Callable[..., Result], *arguments: Any) -> Result:
    """Return what a function returns in a worker, whose results must be those of the server."""
    if version != __version__:
        raise RuntimeError(f"A worker has version {__version__} of the app, and the server {version}.")
    return function(*arguments)
