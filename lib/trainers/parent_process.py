"""A training process ends with the server that started it; an orphan publishes nothing."""

from __future__ import annotations

import logging
import os
import threading
import time

logger = logging.getLogger(__name__)

_PARENT = os.getppid()
_SECONDS = 1.0


def end_with_parent() -> None:
    """Watch in the background whether the parent lives, and end this process when it does not."""

    def watch() -> None:
        while os.getppid() == _PARENT:
            time.sleep(_SECONDS)
        logger.error("The server that started this training is gone; the training ends and publishes nothing.")
        os._exit(3)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def ensure_not_orphaned() -> None:
    """Raise if the parent is gone.

    Raises:
        RuntimeError: It is.
    """
    if os.getppid() != _PARENT:
        raise RuntimeError("The server that started this training is gone; nothing is published.")
