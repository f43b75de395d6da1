"""The queues of requests that compute, and which of them pause for others."""

from __future__ import annotations

from lib.activelearning.background import YieldToUsers
from lib.server.task_state import is_running
from lib.server.work_queue import WorkQueue

_LONGEST_PAUSE = 0.5  # seconds for which clicks delay each forward pass of an inference on a whole scan, or a preview


class RequestQueues:
    """The queues of one server.

    Attributes:
        inferences: Inferences on whole scans.
        clicks: Clicks, which are answered at once, also while a whole scan is segmented.
        previews: Previews of clicks, which must not slow down clicks.
        preparations: Preparations of images for clicks.
        background: Pauses the work that no user waits for, while a user waits or a training runs.
    """

    def __init__(self) -> None:
        self.inferences = WorkQueue("inferences")
        self.clicks = WorkQueue("clicks")
        self.previews = WorkQueue("previews", low_priority=True)
        self.preparations = WorkQueue("preparations")
        self.background = YieldToUsers(busy=lambda: is_running("train") or is_running("scoring"))
        self._clicks_first = YieldToUsers(busy=lambda: self.clicks.busy)

    @property
    def workers(self) -> tuple[WorkQueue, ...]:
        """The workers of the queues."""
        return self.inferences, self.clicks, self.previews, self.preparations

    def wait_for_clicks(self) -> None:
        """Let clicks go first, for half a second at most."""
        self._clicks_first.wait(_LONGEST_PAUSE)
