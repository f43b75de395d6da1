"""Background thread that registers pairs of series."""

from __future__ import annotations

import logging
import threading
from http import HTTPStatus

from lib.errors import UserError
from lib.followup.registration import Registration
from lib.followup.registration_store import RegistrationStore
from lib.processes.worker import Worker

logger = logging.getLogger(__name__)

_MOST_WAITING = 32
_FAILED = "The two series could not be registered; the log of the server says why."

_Pair = tuple[str, str]


class Registering(Worker):
    """Worker that makes registrations in the order of request, with low priority.

    Args:
        store: Registrations on disk.
    """

    def __init__(self, store: RegistrationStore) -> None:
        super().__init__("registrations", failure="A registration failed", pause=None)
        self.store = store
        self._lock = threading.Lock()
        self._waiting: dict[_Pair, None] = {}  # in the order of request
        self._problems: dict[_Pair, str] = {}

    def request(self, image_id: str, other_id: str) -> Registration | None:
        """Return the registration of an image to another one; None if it is being made.

        Raises:
            UserError: It could not be made (it is tried again at the next request), or too many are waiting.
        """
        pair = (image_id, other_id)
        known = self.store.known(*pair)
        if known is not None:
            return known
        with self._lock:
            if problem := self._problems.pop(pair, None):
                raise UserError(problem, HTTPStatus.UNPROCESSABLE_ENTITY)
            if pair not in self._waiting and len(self._waiting) >= _MOST_WAITING:
                raise UserError(
                    f"{_MOST_WAITING} registrations are waiting, and no more are accepted. Try again in a minute.",
                    HTTPStatus.SERVICE_UNAVAILABLE,
                )
            self._waiting[pair] = None
        self.wake()
        return None

    def run_once(self) -> bool:
        """Make the next registration; return whether there was one."""
        with self._lock:
            pair = next(iter(self._waiting), None)
        if pair is None:
            return False
        problem: str | None = _FAILED
        try:
            problem = self._problem_of(pair)
        finally:  # also after an error that nobody foresaw: a pair must not keep all others waiting
            with self._lock:
                del self._waiting[pair]
                if problem:
                    self._problems[pair] = problem
        return True

    def _problem_of(self, pair: _Pair) -> str | None:
        try:
            made = self.store.get(*pair)
        except (UserError, OSError) as error:
            logger.warning("Series %s could not be registered to %s: %s", *pair, error)
            return str(error)
        logger.info("Series %s registered to %s: correlation %.3f", *pair, made.correlation)
        return None
