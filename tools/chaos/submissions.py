"""Labels submitted to the server, and the invariants of those it accepted."""

from __future__ import annotations

import hashlib
import json
import threading
import uuid
from collections.abc import Iterator

import numpy as np
import requests
from monailabel.interfaces.datastore import DefaultLabelTag
from nibabel.filebasedimages import ImageFileError

from lib.datastore.label_record import LabelRecord, read_voxels
from lib.datastore.label_store import LabelStore
from lib.storage.integrity import DamagedFileError
from tools.support.sandbox import GRID, Sandbox


class Submissions:
    """Labels sent, accepted, and in flight.

    Args:
        sandbox: Folders of the server.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._sent: dict[str, str] = {}  # note to checksum of the voxels
        self._lock = threading.Lock()
        self.accepted: set[str] = set()
        self.on_their_way: set[str] = set()
        self.refused: list[str] = []

    def send(self, url: str, rng: np.random.Generator) -> None:
        """Submit a new random label.

        Raises:
            requests.RequestException: The server was killed meanwhile.
        """
        image = self._sandbox.images[rng.integers(len(self._sandbox.images))]
        voxels = (rng.random(GRID.shape) < 0.3).astype(np.uint8)
        note = uuid.uuid4().hex
        with self._lock:
            self._sent[note] = _checksum(voxels)
            self.on_their_way.add(note)
        answer = requests.put(
            f"{url}/datastore/label",
            params={"image": image},
            data={"params": json.dumps({"note": note})},
            files={"label": ("label.bin", voxels.tobytes())},
            timeout=600,
        )
        with self._lock:
            self.on_their_way.discard(note)
            if answer.status_code == 200:
                self.accepted.add(note)
            else:
                self.refused.append(f"{answer.status_code} {answer.text}")

    def problems(self, url: str) -> Iterator[str]:
        """Yield what is missing, damaged, or served differently from what was sent."""
        yield from (f"a label was refused: {answer}" for answer in self.refused)
        store = LabelStore(self._sandbox.workspace / "labels")
        kept: set[str] = set()
        for image in self._sandbox.images:
            # While the record of a label is damaged, its own SEG may be taken for one of another program: a candidate.
            history = [record for record in store.history(image) if record.tag == DefaultLabelTag.FINAL.value]
            for record in history:
                note = record.info.get("note", "")
                kept.add(note)
                if _voxels_of(store, record) != self._sent.get(note):
                    yield f"label {record.number} of {image} is not what was sent"
            if history:
                answer = requests.get(
                    f"{url}/datastore/label", params={"label": image, "tag": DefaultLabelTag.FINAL.value}, timeout=600
                )
                latest = self._sent.get(history[-1].info.get("note", ""))
                if answer.status_code != 200 or _served(answer.content) != latest:
                    yield f"the label served for {image} is not the latest ({answer.status_code})"
        yield from (f"an accepted label is missing: {note}" for note in self.accepted - kept)

    def stored(self) -> int:
        """Return the number of labels on disk, including those whose sender got no answer."""
        store = LabelStore(self._sandbox.workspace / "labels")
        return sum(len(store.history(image)) for image in self._sandbox.images)


def _voxels_of(store: LabelStore, record: LabelRecord) -> str | None:
    """Return the checksum of the voxels of a stored label; None if it is damaged."""
    try:
        return _checksum(read_voxels(store.content(record)))
    except DamagedFileError:
        return None


def _served(content: bytes) -> str | None:
    """Return the checksum of the voxels that the server sent; None if they cannot be read."""
    try:
        return _checksum(read_voxels(content))
    except (OSError, EOFError, ValueError, ImageFileError):
        return None


def _checksum(voxels: np.ndarray) -> str:
    """Return the checksum of voxels (slice, row, column), independent of the file format."""
    return hashlib.sha256(np.ascontiguousarray(voxels).tobytes()).hexdigest()
