"""Size-limited disk cache of the volumes made from series."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from lib.storage.atomic import write_json
from lib.storage.state_file import move_aside

logger = logging.getLogger(__name__)

_SUFFIX = ".nrrd"
_IN_USE = ".in-use"
_JUST_USED_SECONDS = 600  # a returned path is read within this time, or protected by `in_use`
_LEFT_BEHIND_SECONDS = 3600


@dataclass(frozen=True)
class _Volume:
    path: Path
    size: int
    made: int
    used: int


class VolumeCache:
    """LRU cache of volumes in files ``<fingerprint>/<image id>.nrrd``.

    Outdated fingerprints of an image are evicted first. A volume in use by any process is never removed, even if the
    cache exceeds its size limit.

    Args:
        folder: Folder in the cache; can be deleted while no server runs.
        max_bytes: Size limit of all files together.
        is_intact: Returns whether a volume exists and is undamaged; otherwise it is made again.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        folder: Path,
        max_bytes: int,
        *,
        is_intact: Callable[[Path], bool] = Path.is_file,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._is_intact = is_intact
        self._clock = clock
        self._lock = threading.Lock()
        self._uses: Counter[Path] = Counter()
        self._kept: set[Path] = set()
        self._name = uuid.uuid4().hex
        self._alive: FileLock | None = None

    def path(self, image_id: str, fingerprint: str) -> Path:
        """Return the path of a volume, whether it exists or not."""
        return self._folder / fingerprint / f"{image_id}{_SUFFIX}"

    def get(self, image_id: str, fingerprint: str, make: Callable[[Path], object]) -> Path:
        """Return the path of a volume, making it on a cache miss.

        Args:
            image_id: SeriesInstanceUID.
            fingerprint: Fingerprint of its files.
            make: Writes the volume atomically; called if it is missing or damaged.
        """
        path = self.path(image_id, fingerprint)
        if self._is_intact(path) and self._touch(path):
            return path
        if path.is_dir():
            move_aside(path)
        make(path)
        self._touch(path)
        self.make_room()
        return path

    def newest(self, image_id: str) -> Path | None:
        """Return the newest volume of an image with any fingerprint, or None."""
        volumes = [volume for volume in self._volumes() if volume.path.name == f"{image_id}{_SUFFIX}"]
        for volume in sorted(volumes, key=lambda volume: volume.made, reverse=True):
            if self._is_intact(volume.path) and self._touch(volume.path):
                return volume.path
        return None

    @contextlib.contextmanager
    def in_use(self, path: Path) -> Iterator[None]:
        """Protect a volume from eviction within the context."""
        try:
            self._change(path, 1)
            yield
        finally:
            self._change(path, -1)

    def pin(self, paths: Iterable[Path]) -> None:
        """Protect these volumes from eviction until this process ends or calls this again, for a training."""
        with self._lock:
            self._kept = set(paths)
            self._publish_uses()

    def make_room(self) -> None:
        """Evict volumes until the cache is within its size limit."""
        volumes = self._volumes()
        excess = sum(volume.size for volume in volumes) - self._max_bytes
        if excess <= 0:
            return
        newest = {volume.path.name: volume for volume in sorted(volumes, key=lambda volume: volume.made)}
        used = self._used_anywhere()
        for volume in sorted(volumes, key=lambda volume: (newest[volume.path.name] is volume, volume.used)):
            if excess <= 0:
                return
            try:
                just_used = self._clock() - volume.path.stat().st_atime < _JUST_USED_SECONDS
                if volume.path in used or just_used:
                    continue
                volume.path.unlink()
                excess -= volume.size
                with contextlib.suppress(OSError):  # not empty
                    volume.path.parent.rmdir()
            except FileNotFoundError:  # evicted by another process
                excess -= volume.size
        logger.warning(
            "The volume cache exceeds its limit by %.1f GiB because all volumes are in use. Raise --conf volumes_gb.",
            excess / (1 << 30),
        )

    def _volumes(self) -> list[_Volume]:
        found = []
        for path in self._folder.glob("*/*"):
            with contextlib.suppress(OSError):
                status = path.stat()
                if path.name.startswith(".part-"):
                    if self._clock() - status.st_mtime > _LEFT_BEHIND_SECONDS:  # its process was killed
                        path.unlink()
                elif path.suffix == _SUFFIX:
                    found.append(_Volume(path, status.st_size, status.st_mtime_ns, status.st_atime_ns))
        return found

    def _touch(self, path: Path) -> bool:
        """Update the access time of a volume and return whether it exists."""
        try:
            os.utime(path, ns=(int(self._clock() * 1e9), path.stat().st_mtime_ns))
        except FileNotFoundError:
            return False
        except OSError:  # read-only, or of another user
            return path.exists()
        return True

    def _change(self, path: Path, step: int) -> None:
        with self._lock:
            self._uses[path] += step
            if not self._uses[path]:
                del self._uses[path]
            try:
                self._publish_uses()
            except (OSError, Timeout) as error:
                if step > 0:
                    raise
                # The volume is no longer needed; at worst, other processes keep it longer than necessary.
                logger.warning("Could not release the volume %s: %s", path, error)

    def _publish_uses(self) -> None:
        """Publish the volumes in use to other processes; a lock shows them whether this process still runs."""
        folder = self._folder / _IN_USE
        if self._alive is None:
            folder.mkdir(parents=True, exist_ok=True)
            self._alive = FileLock(folder / f"{self._name}.lock", thread_local=False)
            self._alive.acquire(timeout=10)
        paths = sorted(str(path) for path in {*self._uses, *self._kept})
        write_json(folder / f"{self._name}.json", paths)

    def _used_anywhere(self) -> set[Path]:
        with self._lock:
            used = {*self._uses, *self._kept}
        for uses in (self._folder / _IN_USE).glob("*.json"):
            if uses.stem == self._name or uses.name.startswith("."):
                continue
            lock = FileLock(uses.with_suffix(".lock"), thread_local=False)
            try:
                with lock.acquire(timeout=0):
                    uses.unlink(missing_ok=True)
                uses.with_suffix(".lock").unlink(missing_ok=True)
            except Timeout:
                with contextlib.suppress(OSError, ValueError):
                    used |= {Path(path) for path in json.loads(uses.read_text(encoding="utf-8"))}
        return used
