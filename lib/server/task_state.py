"""State of MONAI Label's tasks, which run in separate processes."""

from __future__ import annotations

from typing import Any

from monailabel.utils.async_tasks.utils import tasks

RUNNING = ("SUBMITTED", "RUNNING")


def last_task(method: str) -> dict[str, Any] | None:
    """Return the last task of a method (``train``, ``scoring``, ``batch_infer``) since the server started."""
    started = tasks(method)
    return started[-1] if started else None


def last_status(method: str) -> str | None:
    """Return the status of the last task of a method; None if there was none."""
    task = last_task(method)
    return task["status"] if task else None


def is_running(method: str) -> bool:
    """Return whether a task of this method is running or queued."""
    return any(task["status"] in RUNNING for task in tasks(method))
