"""A fuzzing run: numbered cases against the real server."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import SimpleITK as sitk

from lib.dicomweb.folder_index import FolderIndex
from lib.storage.atomic import write_json
from tools.fuzz.api_requests import ApiRequests
from tools.fuzz.bad_clients import as_a_client_sends_it
from tools.fuzz.dicom_mutations import mutated_series
from tools.fuzz.dicomweb_requests import dicomweb_request
from tools.fuzz.exchange import Answer, Exchange, multipart, problem_of, send
from tools.fuzz.image_mutations import mutated_image
from tools.fuzz.odd_values import one_of
from tools.fuzz.raw_dicom import RawDicom
from tools.fuzz.watch import MemoryWatch, vital_problem
from tools.support.sandbox import GRID, Sandbox
from tools.support.waiting import wait_for

KINDS = ("dicom", "api", "dicomweb", "image")
_ANSWER_SECONDS = 30
_INDEX_SECONDS = 120
_REFRESH_SECONDS = 2  # of the catalog, once the files are indexed
_REQUESTS = 5  # that schemathesis generates for a case
_BATCH = 20  # series that are put into the folder at once
_CONF = {"rescan_seconds": 0.5, "scored_images": 0}
_STARTS_A_TASK = ("/train/", "/batch/", "/scoring/")


class FuzzCampaign:
    """Fuzzing cases by number; a number determines its case, and the kinds alternate.

    Args:
        folder: For everything; ``summary.json`` and ``failures.json`` are the result.
        cases: Numbers of the cases.
        report: Called with a sentence after each failure and every hundred cases.
    """

    def __init__(self, folder: Path, cases: Iterable[int], report: Callable[[str], None]) -> None:
        self._sandbox = Sandbox.build(folder)
        self._cases = list(cases)
        self._report = report
        slices = [RawDicom.read(path) for path in sorted((folder / "studies" / "CHAOS-1").glob("*.dcm"))]
        self._template = slices[:4]
        self._image_uid = self._sandbox.images[0]
        self._known = dict.fromkeys(("series", "image", "label", "id"), self._image_uid)
        self._known |= {"study": slices[0].text("StudyInstanceUID"), "instance": slices[0].text("SOPInstanceUID")}
        self._grid = sitk.Image(*GRID.shape[::-1], sitk.sitkUInt8)
        self._failures: list[dict[str, Any]] = []
        self._statuses: Counter[int] = Counter()
        self._done: Counter[str] = Counter()
        self._extra = 0
        self._slowest = 0.0
        self._starts = 0
        self._begun = time.monotonic()

    def run(self) -> dict[str, Any]:
        """Run all cases, with a new server whenever one ended; return the summary."""
        waiting = [
            self._cases[start : start + len(KINDS) * _BATCH]
            for start in range(0, len(self._cases), len(KINDS) * _BATCH)
        ]
        while waiting:
            with self._sandbox.server(self._starts, **_CONF) as server:
                self._starts += 1
                self._server, self._memory = server, MemoryWatch(server.process.pid)
                self._learn()
                while waiting and server.process.poll() is None:
                    self._try(waiting.pop(0))
        return self._write_summary()

    def _learn(self) -> None:
        document = self._ask(Exchange("GET", "/openapi.json")).json()
        self._api = ApiRequests(document, {**self._known, "model": "lung_tumor", "tag": "final"})
        answer = self._ask(Exchange("GET", f"/datastore/image?image={self._image_uid}"))
        path = self._sandbox.folder / "image.nrrd"
        path.write_bytes(answer.body)
        self._grid = sitk.ReadImage(str(path))
        self._good_volume = answer.body

    def _try(self, cases: Sequence[int]) -> None:
        of_kind = {kind: [case for case in cases if kind_of(case) == kind] for kind in KINDS}
        for case in of_kind["api"]:
            self._judge(case, self._api_requests(case))
        for case in of_kind["dicomweb"]:
            self._judge(case, [self._dicomweb_request(case)])
        for case in of_kind["image"]:
            self._judge(case, [self._image(case)])
        if of_kind["dicom"]:
            self._dicom(of_kind["dicom"])
        self._done.update({kind: len(found) for kind, found in of_kind.items()})
        self._report(f"{self._done.total()} of {len(self._cases)} cases, {len(self._failures)} failures")
        self._write_summary()

    def _api_requests(self, case: int) -> list[Exchange]:
        rng = np.random.default_rng(case)
        return [as_a_client_sends_it(exchange, rng) for exchange in self._api.examples(case, _REQUESTS)]

    def _dicomweb_request(self, case: int) -> Exchange:
        rng = np.random.default_rng(case)
        uploads = [*mutated_series(self._template, rng)[1], self._template[0].encoded()]
        return as_a_client_sends_it(dicomweb_request(self._known, uploads, rng), rng)

    def _image(self, case: int) -> Exchange:
        rng = np.random.default_rng(case)
        _, suffix, content = mutated_image(self._grid, rng)
        name = (
            f"x{suffix}"
            if rng.random() < 0.9
            else one_of(rng, ["", ".nii.gz", "../x" + suffix, "x" * 300 + suffix, "x"])
        )
        if rng.random() < 0.3:
            kind, body = multipart([("file", name, content)])
            return Exchange("POST", "/infer/lung_tumor?output=image", {"Content-Type": kind}, body)
        kind, body = multipart([("label", name, content)])
        return Exchange("PUT", f"/datastore/label?image={self._image_uid}", {"Content-Type": kind}, body)

    def _judge(self, case: int, exchanges: Sequence[Exchange], what: str = "") -> None:
        """Send the requests of a case; record failures, and check that the server is alive."""
        for exchange in exchanges:
            try:
                answer = self._ask(exchange)
            except TimeoutError:
                self._fail(case, f"{what} {exchange}: no answer in {_ANSWER_SECONDS} s")
                continue
            except OSError as error:
                self._fail(case, f"{what} {exchange}: {error}")
                break
            if problem := problem_of(exchange, answer):
                self._fail(case, f"{what} {problem}")
            if exchange.method == "POST" and exchange.target.startswith(_STARTS_A_TASK) and answer.status == 200:
                for task in ("/train/", "/batch/infer", "/scoring/"):
                    self._ask(Exchange("DELETE", task))
        problem, extra = vital_problem(self._server, self._memory)
        self._extra = max(self._extra, extra)
        if problem:
            self._fail(case, f"{what} {[str(exchange) for exchange in exchanges][:1]}: {problem}")

    def _ask(self, exchange: Exchange) -> Answer:
        answer = send(self._server.url, exchange, _ANSWER_SECONDS)
        self._statuses[answer.status] += 1
        self._slowest = max(self._slowest, answer.seconds)
        return answer

    def _fail(self, case: int, problem: str) -> None:
        self._failures.append({"case": case, "kind": kind_of(case), "problem": problem.strip()})
        self._report(f"FAILURE case {case} ({kind_of(case)}): {problem.strip()[:500]}")

    def _dicom(self, cases: Sequence[int]) -> None:
        """Put series of all cases into the folder at once, wait until they are indexed, and request each."""
        inbox = self._sandbox.folder / "inbox"
        what = {}
        for case in cases:
            rng = np.random.default_rng(case)
            folder = inbox / f"case-{case}"
            folder.mkdir(parents=True)
            what[case], contents = mutated_series(self._template, rng)
            for number, content in enumerate(contents):
                (folder / f"{number}.dcm").write_bytes(content)
            if rng.random() < 0.2:
                name, suffix, content = mutated_image(self._grid, rng)
                what[case] += f" and {name}{suffix}"
                (folder / f"image{suffix}").write_bytes(content)
        watched = self._sandbox.folder / "studies" / f"batch-{cases[0]}"
        inbox.rename(watched)
        try:
            self._wait_for(watched, cases)
            for case in cases:
                self._judge(case, self._questions(watched / f"case-{case}"), what[case])
            self._check_good_series(cases)
        finally:
            shutil.rmtree(watched)

    def _wait_for(self, watched: Path, cases: Sequence[int]) -> None:
        """Wait until every file is indexed, as an instance or with its problem, and the catalog is refreshed."""
        files = {path.resolve() for path in watched.rglob("*") if path.is_file()}

        def are_indexed() -> bool:
            return files <= self._index().paths() or self._server.process.poll() is not None

        with contextlib.suppress(TimeoutError):
            wait_for(are_indexed, "the index", seconds=_INDEX_SECONDS, interval=0.2)
        missing = files - self._index().paths()
        if not missing:
            time.sleep(_REFRESH_SECONDS)
        for case in cases:
            named = sorted(path.name for path in missing if path.is_relative_to((watched / f"case-{case}").resolve()))
            if named:
                self._fail(case, f"not indexed in {_INDEX_SECONDS} s: {named}")

    def _index(self) -> FolderIndex:
        return FolderIndex(self._sandbox.workspace / "cache" / "index.sqlite", [self._sandbox.folder / "studies"])

    def _questions(self, folder: Path) -> list[Exchange]:
        """Return the requests of a viewer for the series of a case."""
        index = self._index()
        uids = {
            (file.study_uid, file.series_uid, file.sop_uid)
            for header, _ in index.series()
            for file in index.instances(header["0020000E"]["Value"][0])
            if file.path.is_relative_to(folder.resolve())
        }
        images = {series for _, series, _ in uids}
        images |= {image.uid for image in index.images() if image.path.is_relative_to(folder.resolve())}
        asked = [
            Exchange("GET", f"/datastore/{what}?image={_quoted(uid)}")
            for uid in sorted(images)
            for what in ("image", "image/info")
        ]
        for study, series, instance in sorted(uids):
            root = f"/proxy/dicom/wado/studies/{_quoted(study)}/series/{_quoted(series)}"
            one = f"{root}/instances/{_quoted(instance)}"
            asked += [Exchange("GET", target) for target in (f"{one}/frames/1", f"{one}/metadata", one)]
        for study, series in sorted({(study, series) for study, series, _ in uids}):
            root = f"/proxy/dicom/qido/studies/{_quoted(study)}"
            asked += [Exchange("GET", f"{root}/series"), Exchange("GET", f"{root}/series/{_quoted(series)}/metadata")]
        return [
            *asked,
            Exchange("GET", "/proxy/dicom/qido/studies"),
            Exchange("GET", "/proxy/dicom/qido/instances?limit=5"),
        ]

    def _check_good_series(self, cases: Sequence[int]) -> None:
        """Check that the valid series is still listed and its volume unchanged."""
        answer = self._ask(Exchange("GET", "/status/data"))
        listed = {case["series"] for case in answer.json()["cases"]} if answer.status == 200 else set()
        if not set(self._sandbox.images) <= listed:
            self._fail(cases[0], f"a good series is no longer listed beside cases {[*cases]}")
        if self._ask(Exchange("GET", f"/datastore/image?image={self._image_uid}")).body != self._good_volume:
            self._fail(cases[0], f"the volume of a good series is not what it was beside cases {[*cases]}")

    def _write_summary(self) -> dict[str, Any]:
        summary = {
            "cases": self._done.total(),
            "cases_by_kind": dict(self._done),
            "answers": self._statuses.total(),
            "answers_by_status": {str(status): count for status, count in sorted(self._statuses.items())},
            "failures": len(self._failures),
            "slowest_answer_seconds": round(self._slowest, 1),
            "most_memory_above_start_bytes": self._extra,
            "server_starts": self._starts,
            "seconds": round(time.monotonic() - self._begun),
            "machine": f"{platform.system()}, {os.cpu_count()} CPU cores, Python {platform.python_version()}",
        }
        write_json(self._sandbox.folder / "summary.json", summary)
        write_json(self._sandbox.folder / "failures.json", self._failures)
        return summary


def kind_of(case: int) -> str:
    """Return the kind of a case."""
    return KINDS[case % len(KINDS)]


def _quoted(text: str) -> str:
    return quote(text, safe="", errors="replace")
