"""``python main.py infer``: batch inference of the serving model on every usable series of a folder or PACS.

A run uses a copy of the weights, so that one version makes all masks even if another is published meanwhile.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.app import MyApp
from lib.cli.arguments import add_formats, add_studies, add_workers, check_output, formats_of, workers_of
from lib.cli.output_folder import folder_of_run
from lib.cluster.workers import connected
from lib.cohort.job import Outcome
from lib.cohort.pinned_model import pin
from lib.cohort.segmentation import new_job, run_on
from lib.cohort.series_segmenter import SeriesSegmenter, read_record
from lib.datastore.catalog import Series
from lib.datastore.series_datastore import SeriesDatastore
from lib.dicomweb.folder_client import FolderClient
from lib.errors import UserError
from lib.exports.case_rows import case_row
from lib.exports.case_table import EXCLUDED, FAILED, PREDICTED, CaseRow, size_of_lesions
from lib.exports.formats import TABLES, ExportFormat
from lib.exports.lesion_table import MeasuredLesion
from lib.exports.table_files import write_tables
from lib.publishing.stores import SEGMENTATION, model_stores
from lib.settings import APP_DIR, Settings

if TYPE_CHECKING:
    from distributed import Client

_ESTIMATE_SECONDS = 30.0  # between two lines with the time left


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_studies(parser)
    parser.add_argument("--output", required=True, type=Path, help="folder for the results; not the DICOM folder")
    add_formats(parser, default=[ExportFormat.seg, ExportFormat.csv, ExportFormat.json])
    parser.add_argument(
        "--workspace",
        help="workspace of the server whose model is used, read-only (default: that of these studies; without one, the "
        "shipped weights)",
    )
    parser.add_argument(
        "--conf", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="a setting of the server"
    )
    add_workers(parser)


def run(args: argparse.Namespace) -> int:
    """Segment the unfinished series; return 1 if anything failed."""
    conf = dict(args.conf)
    if "workspace" in conf:
        raise UserError(
            "--conf workspace is for the server and its labels; this command writes only to --output. To use the "
            "model of a server's workspace: --workspace DIR."
        )
    check_output(args.studies, args.output)
    # The app exits the process if it cannot start, so the settings are checked first.
    server = Settings.from_conf(args.studies, conf | ({"workspace": args.workspace} if args.workspace else {}))
    workers = workers_of(args)
    with contextlib.ExitStack() as stack:
        work = stack.enter_context(folder_of_run(args.output))
        pinned = pin(model_stores(server)[SEGMENTATION], work)
        # Before the series are listed: workers start in the meantime.
        client = stack.enter_context(connected(workers, work / "workers")) if workers else None
        return _Run(MyApp(str(APP_DIR), args.studies, conf | pinned), args, conf, work, client).run()


class _Run:
    """A run: listing of the series, their segmentation somewhere, and the tables of all in the end."""

    def __init__(
        self, app: MyApp, args: argparse.Namespace, conf: dict[str, str], work: Path, client: Client | None
    ) -> None:
        self._app = app
        self._datastore = app.datastore()
        self._conf = conf
        self._work = work
        self._client = client
        self._output: Path = args.output
        self._formats = sorted(formats_of(args))

    def run(self) -> int:
        problems = _list(self._datastore)
        everything = sorted(self._datastore.catalog.all(), key=lambda series: (series.value("PatientID"), series.uid))
        usable = [series for series in everything if series.problem is None]
        outcomes = self._segment(usable)
        if TABLES & {*self._formats}:
            self._write_tables(everything, outcomes)
        left_out = [f"{series.uid}: {series.problem}" for series in everything if series.problem]
        _print_all(f"{len(left_out)} series excluded", left_out)
        _print_all(
            "Other files (`python main.py doctor` names them)",
            (f"{count}: {reason}" for reason, count in problems.most_common()),
        )
        failures = [failure for series in usable for failure in _failures(outcomes[series.uid])]
        _print_all(f"{len(failures)} could not be made; the same command tries again", failures)
        print(f"Research use only. {len(usable)} usable series; results in {self._output}")
        return 1 if failures else 0

    def _segment(self, usable: list[Series]) -> dict[str, Outcome]:
        """Segment the series, print what becomes of each, and return it by SeriesInstanceUID.

        Of the records only what could not be made is returned: those of a large cohort would fill the memory.
        """
        outcomes: dict[str, Outcome] = {}
        patients = {series.uid: series.value("PatientID") or "(no id)" for series in usable}
        started = said = time.monotonic()
        for outcome in self._outcomes(usable):
            record = outcome.record and {"not_made": outcome.record["not_made"]}
            outcomes[outcome.uid] = replace(outcome, record=record)
            _say(f"{len(outcomes)} of {len(usable)}  {patients[outcome.uid]}  {outcome.uid}", outcome)
            now, left = time.monotonic(), len(usable) - len(outcomes)
            if left and now - said > _ESTIMATE_SECONDS:
                said = now
                print(f"    About {(now - started) / len(outcomes) * left / 60:.0f} minutes left", flush=True)
        return outcomes

    def _outcomes(self, usable: list[Series]) -> Iterator[Outcome]:
        if self._client is None:
            segmenter = SeriesSegmenter(self._app, self._output, self._formats)
            yield from map(segmenter.attempt, usable)
        else:
            job = new_job(self._app.settings, self._conf, self._work, self._output, self._formats)
            yield from run_on(self._client, job, usable)

    def _write_tables(self, everything: list[Series], outcomes: dict[str, Outcome]) -> None:
        tried = [(series, outcomes[series.uid]) for series in everything if series.uid in outcomes]
        predicted = _Predicted(self._output, [series.uid for series, outcome in tried if outcome.record is not None])
        tables = iter(predicted)
        cases = [
            case_row(self._datastore, series, state=FAILED, problem=outcome.reason)
            if outcome.record is None
            else self._case(series, *next(tables))
            for series, outcome in tried
        ]
        cases += [
            case_row(self._datastore, series, state=EXCLUDED, problem=series.problem)
            for series in everything
            if series.left_out
        ]
        write_tables(self._output, [kind for kind in self._formats if kind in TABLES], predicted, cases)

    def _case(self, series: Series, about: dict[str, str], lesions: list[MeasuredLesion]) -> CaseRow:
        made = {name: about[name] for name in ("algorithm_type", "model_version")}
        return case_row(self._datastore, series, state=PREDICTED, **made, **size_of_lesions(lesions))


@dataclass(frozen=True)
class _Predicted:
    """Tables of the lesions of finished series, read from their records whenever they are iterated over."""

    output: Path
    uids: list[str]

    def __iter__(self) -> Iterator[tuple[dict[str, Any], list[MeasuredLesion]]]:
        for uid in self.uids:
            record = read_record(self.output, uid)
            yield record["about"], [MeasuredLesion(**lesion) for lesion in record["lesions"]]


def _list(datastore: SeriesDatastore) -> Counter[str]:
    """List the series, and return the number of other files by reason."""
    client = datastore.client
    if isinstance(client, FolderClient):
        client.scan(lambda done, total: print(f"Read {done} of {total} files", flush=True))
    try:
        datastore.list_images()
    except Exception as error:  # any failure of the network or the PACS
        raise UserError(f"{datastore.name()} does not respond as DICOMweb: {error}") from error
    return Counter(reason for _, reason in client.index.problems()) if isinstance(client, FolderClient) else Counter()


def _say(about: str, outcome: Outcome) -> None:
    if outcome.record is None:
        print(f"{about}: failed, {outcome.reason}", flush=True)
        return
    how = "finished before" if outcome.finished_before else "done"
    print(f"{about}: {how}, {outcome.record['voxels']} voxels marked", flush=True)
    for warning in outcome.record["warnings"]:
        print(f"    {warning}")


def _failures(outcome: Outcome) -> list[str]:
    if outcome.record is None:
        return [f"{outcome.uid}: {outcome.reason}"]
    return [f"{outcome.uid}: no {kind}: {reason}" for kind, reason in outcome.record["not_made"].items()]


def _print_all(title: str, lines: Iterable[str]) -> None:
    lines = list(lines)
    if lines:
        print("\n  ".join([f"{title}:", *lines]))
