"""Several readers on one real server with log-in, and what is left of their work in the end."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lib.datastore.label_info import author_of
from lib.datastore.label_record import read_voxels
from lib.datastore.label_store import LabelStore
from lib.identity.audit_log import AuditLog
from lib.identity.roles import Role
from lib.phantoms import write_demo_studies
from lib.storage.atomic import write_json
from tools.benchmark.clicks import middle_of_largest
from tools.readers.reader import CLICKS, Notes, Reader
from tools.support.app_server import monailabel_server
from tools.support.usage import cpu_seconds, resident_bytes
from tools.support.users import add_users

_END_SECONDS = 600  # for the requests under way


def measure(folder: Path, readers: int, minutes: float, report: Callable[[str], None]) -> dict[str, Any]:
    """Let readers work, check their labels afterwards, and return the summary, also written to ``summary.json``.

    Args:
        folder: New folder for all files.
        readers: Number of readers.
        minutes: Time that they work.
        report: Called with a sentence now and then.
    """
    series = write_demo_studies(folder / "dicom", truth=folder / "truth")
    lesions = {one.series_uid: middle_of_largest(one.truth) for one in series if one.lesions and one.truth}
    workspace = folder / "workspace"
    names = [f"reader{number:02}" for number in range(1, readers + 1)]
    add_users(workspace, **dict.fromkeys(names, Role.ANNOTATOR))
    notes, end = Notes(), threading.Event()
    model = Path(__file__).parents[2] / "model"
    with monailabel_server(
        folder / "dicom", folder, workspace=workspace, model_dir=model, login="true", lease_minutes=1
    ) as server:
        crew = [Reader(name, server.url, series, lesions, notes) for name in names]
        threads = [threading.Thread(target=one.work, args=(end,), daemon=True) for one in crew]
        for thread in threads:
            thread.start()
        begun, memory, computed = time.monotonic(), 0, cpu_seconds(server.process.pid)
        while time.monotonic() - begun < 60 * minutes and any(thread.is_alive() for thread in threads):
            end.wait(min(60.0, 60 * minutes))
            memory = max(memory, resident_bytes(server.process.pid))
            report(f"{len(notes.submitted)} labels, {sum(map(len, notes.seconds.values()))} requests")
        end.set()
        for thread in threads:
            thread.join(_END_SECONDS)
        seconds, computed = time.monotonic() - begun, cpu_seconds(server.process.pid) - computed
    measured = sorted({**notes.seconds, **notes.parts}.items())
    problems = [*notes.failures, *_lost(workspace, notes)]
    summary = {
        "readers": readers,
        "minutes": round(seconds / 60, 1),
        "labels": len(notes.submitted),
        "requests_per_second": round(sum(map(len, notes.seconds.values())) / seconds, 1),
        "clicks_per_reader_and_minute": round(_clicks(notes) * 60 / seconds / readers, 1),
        "cpu_seconds_per_label": round(computed / max(1, len(notes.submitted)), 2),
        "server_mb": memory >> 20,
        **{f"seconds of {kind}": _percentiles(values) for kind, values in measured},
        "problems": problems,
    }
    write_json(folder / "summary.json", summary)
    return summary


def _clicks(notes: Notes) -> int:
    return sum(len(notes.seconds[kind]) for kind in CLICKS if kind in notes.seconds)


def _lost(workspace: Path, notes: Notes) -> list[str]:
    """Return what differs between the labels that were accepted and those that are stored, and the audit log."""
    store = LabelStore(workspace / "labels")
    stored: Counter[tuple[str, str, int]] = Counter()
    for image in store.images():
        for record in store.history(image):
            if record.tag == "final":
                voxels = int(np.count_nonzero(read_voxels(store.content(record))))
                stored[image, author_of(record.info) or "nobody", voxels] += 1
    sent = Counter(notes.submitted)
    problems = [
        f"{what}: {one}" for what, ones in (("lost", sent - stored), ("not sent", stored - sent)) for one in ones
    ]
    log = AuditLog(workspace / "audit.jsonl")
    stored_ones = (e for e in log.entries() if (e.get("action"), e.get("status")) == ("labelled", "200"))
    logged = Counter((e.get("image"), e["user"]) for e in stored_ones)
    if logged != Counter((image, name) for image, name, _ in notes.submitted):
        problems.append("The audit log has other submissions than the readers.")
    return [*problems, *log.problems()]


def _percentiles(values: list[float]) -> str:
    median, most = np.percentile(values, [50, 95])
    return f"median {median:.2f}, 95 % {most:.2f}, longest {max(values):.2f}, {len(values)} times"
