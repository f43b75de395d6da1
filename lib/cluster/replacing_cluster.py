"""Cluster of processes on this machine, of which each that ends is replaced."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from distributed import SpecCluster
from distributed.core import Status
from tornado.ioloop import PeriodicCallback

_LOOK_MILLISECONDS = 500


class ReplacingCluster(SpecCluster):
    """`SpecCluster` that starts workers again whenever they are killed.

    A nanny starts its worker again, unless that is killed while it starts for the first time: then the nanny ends, too,
    and Dask starts no other.

    Args:
        workers: The workers, as for `SpecCluster`; they start after the cluster.
        options: Further arguments of `SpecCluster`.
    """

    def __init__(self, workers: Mapping[int, dict[str, Any]], **options: Any) -> None:
        super().__init__(**options)
        self._wanted = workers
        replace = PeriodicCallback(self._replace_ended, _LOOK_MILLISECONDS)
        self.periodic_callbacks["replace"] = replace  # is stopped with the cluster
        assert self.loop, "is running"
        self.loop.add_callback(replace.start)

    async def _replace_ended(self) -> None:
        """Start the workers that are not there; one that is killed meanwhile is replaced in the next round."""
        if self.status != Status.running:
            return
        self.worker_spec.update(self._wanted)
        for name, nanny in [*self.workers.items()]:
            if nanny.status in (Status.closed, Status.failed):
                del self.workers[name]
        with contextlib.suppress(Exception):  # distributed raises many types if a process ends while it starts
            await self
