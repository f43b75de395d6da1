"""One simulated reader: takes a case, looks at it, clicks twice, keeps a draft, submits, looks again.

The pace is that of a quick person who never rests: one to five seconds before each click and before submitting, so that
a case takes about ten seconds. The pointer rests on the lesion before it is clicked, which requests a preview. Where a
phantom has no lesion, the middle of the chest is clicked, whose outline grows to the largest cube.
"""

from __future__ import annotations

import gzip
import itertools
import json
import re
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import requests

from lib.phantoms import DemoSeries
from tools.support.users import logged_in

_TIMEOUT_SECONDS = 300
_SHARE_RUNS = 0.1  # of the cases on which the reader also runs the model for whole scans
_THINKING_SECONDS = (1.0, 5.0)
_RESTING_SECONDS = (0.3, 1.0)  # of the pointer, from the request for a preview to the click
CLICKS = ("first click", "further click", "click beside a lesion")
_FRAMES = 10
_TIMING = re.compile(r"(\w+);dur=([\d.]+)")


@dataclass
class Notes:
    """What all readers did; appended to by several threads.

    Attributes:
        seconds: Seconds of each kind of request.
        parts: Seconds of parts of it, which the server tells in ``Server-Timing``.
        failures: Sentences on what went wrong.
        submitted: Image, reader and number of voxels of each label that was accepted.
    """

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    parts: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    failures: list[str] = field(default_factory=list)
    submitted: list[tuple[str, str, int]] = field(default_factory=list)
    sizes: itertools.count[int] = field(default_factory=lambda: itertools.count(1))


class Reader:
    """A reader in a thread of its own.

    Args:
        name: Name of the user.
        url: URL of the server.
        series: All series of the server.
        lesions: A voxel (column, row, slice) in a lesion of each series that has one.
        notes: What is noted.
    """

    def __init__(
        self,
        name: str,
        url: str,
        series: Sequence[DemoSeries],
        lesions: Mapping[str, list[int]],
        notes: Notes,
    ) -> None:
        self._name = name
        self._url = url
        self._series = {one.series_uid: one for one in series}
        self._lesions = lesions
        self._notes = notes
        self._rng = np.random.default_rng([*name.encode()])

    def work(self, end: threading.Event) -> None:
        """Read cases until ``end`` is set."""
        self._session = logged_in(self._url, self._name)
        while not end.is_set():
            try:
                self._read(end)
            except requests.RequestException as error:
                self._notes.failures.append(f"{self._name}: {type(error).__name__}: {str(error)[:200]}")

    def _read(self, end: threading.Event) -> None:
        sample = self._ask("next sample", "POST", "/activelearning/random", json={"client_id": self._name})
        uid = (sample or {}).get("SeriesInstanceUID") or self._rng.choice([*self._series])
        one = self._series[str(uid)]
        self._open(one)
        self._ask("prepare", "POST", "/viewer/prepare", uid)
        self._click(one, end)
        if self._rng.random() < _SHARE_RUNS:
            self._ask("run", "POST", "/infer/lung_tumor", uid, params={"output": "image"})
        self._think(end)
        self._keep_draft(uid)
        self._submit(one)

    def _click(self, one: DemoSeries, end: threading.Event) -> None:
        """Point at the lesion, click it, look at the outline, and correct it with a second click."""
        uid, lesion = one.series_uid, self._lesions.get(one.series_uid)
        slices, rows, columns = one.acquisition.shape
        middle = lesion or [columns // 2, rows // 2, slices // 2]
        params: dict[str, Any] = {"foreground": [self._near(middle)], "region": True}
        self._think(end)
        self._preview(uid, params)
        answer = self._outline("first click" if lesion else "click beside a lesion", uid, params)
        if lesion and answer:
            self._think(end)
            corrected = {"foreground": [*params["foreground"], self._near(middle)], "former": answer["region"]}
            self._outline("further click", uid, {**params, **corrected})

    def _preview(self, uid: str, params: dict[str, Any]) -> None:
        """Request a preview, and drop the request at the click if there is no answer until then, as the viewer does."""
        seconds = self._rng.uniform(*_RESTING_SECONDS)
        click = time.monotonic() + seconds
        try:
            self._outline("preview", uid, {**params, "preview": True}, timeout=seconds)
        except requests.Timeout:
            self._notes.seconds["dropped preview"].append(seconds)
        time.sleep(max(0.0, click - time.monotonic()))

    def _near(self, voxel: Sequence[int]) -> list[int]:
        """Return a voxel at most one column and one row away, where people click in the middle of a lesion."""
        column, row, slice_ = voxel
        return [column + int(self._rng.integers(-1, 2)), row + int(self._rng.integers(-1, 2)), slice_]

    def _outline(self, kind: str, uid: str, params: dict[str, Any], **options: object) -> Any:
        return self._ask(kind, "POST", "/infer/lung_tumor_click", uid, data={"params": json.dumps(params)}, **options)

    def _open(self, one: DemoSeries) -> None:
        dicomweb = f"/proxy/dicom/wado/studies/{one.study_uid}/series/{one.series_uid}"
        instances = self._ask("open", "GET", f"{dicomweb}/metadata") or []
        for instance in instances[:_FRAMES]:
            uid = instance["00080018"]["Value"][0]
            self._ask("frame", "GET", f"{dicomweb}/instances/{uid}/frames/1")
        self._ask("case", "GET", "/viewer/case", one.series_uid)

    def _keep_draft(self, uid: str) -> None:
        draft = {"draft": ("draft.json.gz", gzip.compress(json.dumps({"reader": self._name}).encode()))}
        self._ask("draft", "PUT", "/viewer/draft", uid, params={"session": "first"}, files=draft)
        found = self._ask("draft back", "GET", "/viewer/draft", uid, params={"session": "second"}) or {}
        if (found.get("draft") or {}).get("reader", self._name) != self._name:
            self._notes.failures.append(f"{self._name} was offered the draft {found}")

    def _submit(self, one: DemoSeries) -> None:
        """Submit a label whose number of voxels no other label has."""
        size = next(self._notes.sizes)
        mask = np.zeros(one.acquisition.shape, np.uint8)
        mask.reshape(-1)[:size] = 1
        label = {"label": ("label.bin", mask.tobytes())}
        typed = {"params": json.dumps({"annotator": "somebody else"})}
        if self._ask("submit", "PUT", "/datastore/label", one.series_uid, data=typed, files=label) is not None:
            self._notes.submitted.append((one.series_uid, self._name, size))

    def _ask(self, kind: str, method: str, path: str, image: str | None = None, **options: object) -> object:
        """Send a request; return its JSON, True for another body, or None if it failed, which is noted."""
        given = options.pop("params", {})
        query = {**(given if isinstance(given, dict) else {}), **({"image": image} if image else {})}
        begun = time.monotonic()
        answer = self._session.request(
            method,
            self._url + path,
            params=query,
            **{"timeout": _TIMEOUT_SECONDS, **options},  # type: ignore[arg-type]
        )
        timing = answer.headers.get("Server-Timing", "")
        if timing.endswith(", kept"):
            kind = f"{kind} of another reader"
        self._notes.seconds[kind].append(time.monotonic() - begun)
        for what, milliseconds in _TIMING.findall(timing):
            self._notes.parts[f"{kind}, {what}"].append(float(milliseconds) / 1000)
        if not answer.ok:
            self._notes.failures.append(f"{self._name}: {kind}: {answer.status_code} {answer.text[:200]}")
            return None
        is_json = "json" in answer.headers.get("Content-Type", "")
        return answer.json() if is_json else True

    def _think(self, end: threading.Event) -> None:
        end.wait(self._rng.uniform(*_THINKING_SECONDS))
