"""``python main.py study``: check a study file, measure the agreement of its readers, export the study."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from lib.cli.output_folder import new_folder
from lib.datastore.label_store import LabelStore
from lib.errors import UserError
from lib.evaluation.agreement_summary import summarise_agreement
from lib.evaluation.tables import Row, markdown_table, mean_with_interval
from lib.reading.asked import asked_text
from lib.reading.compared_outlines import ComparedOutlines
from lib.reading.preference_answers import Answers
from lib.reading.preference_export import write_preference_study, write_results
from lib.reading.reading_list import StudyPlan
from lib.reading.row_files import writes_parquet
from lib.reading.stored_readings import INCOMPLETE, StudyLabels
from lib.reading.study_export import MANIFEST, other_finals, write_agreement, write_study
from lib.reading.study_file import read_study

_MEASURES = {"detection": "detection", "dice": "Dice", "hausdorff_95_mm": "95 % Hausdorff, mm", "kappa": "kappa"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "action",
        metavar="ACTION",
        choices=_ACTIONS,
        help="check: validate the file and show who reads how much; agreement: compare the readers so far, or show "
        "which outlines they prefer; export: tables, label files, results and a manifest",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the study file, as --conf study of the server")
    parser.add_argument("--workspace", type=Path, help="folder with the labels, as --conf workspace of the server")
    parser.add_argument("--output", type=Path, help="new folder for the files")


def run(args: argparse.Namespace) -> int:
    """Run one of the actions."""
    plan = StudyPlan(read_study(args.file))
    return _ACTIONS[args.action](args, plan)


def _check(args: argparse.Namespace, plan: StudyPlan) -> int:
    labels = _labels(args.workspace, plan) if args.workspace else None
    is_preference = plan.study.kind == "preference"
    print(f"{plan.study.name}: {len(plan.study.cases)} cases.\n")
    if labels is None:
        _print_readers(plan, (), lambda reader: ())
    elif is_preference:
        compared = _compared(args, labels)
        _print_readers(plan, ("answered",), lambda reader: (_answered(compared, reader),))
        ready = sum(compared.outlines(case) is not None for case in plan.study.cases)
        print(f"\n{ready} of {len(plan.study.cases)} cases have both outlines.")
    else:
        _check_labels(labels)
    return 0


def _print_readers(plan: StudyPlan, names: Row, facts_of: Callable[[str], Row]) -> None:
    """Print a row for each reader: numbers of cases and readings, and further ones."""
    rows = [
        (
            reader,
            len({reading.case for reading in plan.readings(reader)}),
            len(plan.readings(reader)),
            *facts_of(reader),
        )
        for reader in plan.study.readers
    ]
    print(markdown_table(("reader", "cases", "readings", *names), rows), end="")


def _answered(compared: ComparedOutlines, reader: str) -> int:
    cases = (reading.case for reading in compared.plan.readings(reader))
    return sum(bool(compared.questions(case)) and not compared.is_due(reader, case) for case in cases)


def _check_labels(labels: StudyLabels) -> None:
    incomplete = labels.incomplete()

    def facts_of(reader: str) -> Row:
        return len(labels.submitted(reader)), sum(one.info["user"] == reader for one in incomplete)

    _print_readers(labels.plan, ("submitted", "incomplete"), facts_of)
    for record in incomplete:
        missing = asked_text(record.info[INCOMPLETE])
        print(f"Incomplete: label {record.number} of {record.image_id} by {record.info['user']} lacks {missing}.")
    for record in other_finals(labels):
        print(
            f"Warning: final label {record.number} of {record.image_id} is no result of the study, but trainings use "
            "it until the study has one; the export leaves it out."
        )


def _agreement(args: argparse.Namespace, plan: StudyPlan) -> int:
    labels, output = _labels(args.workspace, plan), _output(args)
    if plan.study.kind == "preference":
        print(write_results(_compared(args, labels), output))
        print(f"Research use only. Written to {output}.")
        return 0
    for condition, lesions in write_agreement(labels, output).items():
        rows = [
            (row["class"], row["lesions"], *(mean_with_interval(row[name]) for name in _MEASURES))
            for row in summarise_agreement(lesions)
        ]
        print(f"{condition}\n\n{markdown_table(('Class', 'lesions', *_MEASURES.values()), rows)}")
    print(f"Research use only. Written to {output}.")
    return 0


def _export(args: argparse.Namespace, plan: StudyPlan) -> int:
    labels, output = _labels(args.workspace, plan), _output(args)
    if plan.study.kind == "preference":
        manifest = write_preference_study(_compared(args, labels), args.file, output)
    else:
        manifest = write_study(labels, args.file, output)
    if not writes_parquet():
        print("Tables are written as CSV only; for Parquet, install pyarrow: pip install 'pyarrow<26'")
    print(f"Research use only. Written to {output}: {len(manifest['files'])} files, with checksums in {MANIFEST}.")
    return 0


def _labels(workspace: Path | None, plan: StudyPlan) -> StudyLabels:
    folder = workspace / "labels" if workspace else None
    if folder is None or not folder.is_dir():
        raise UserError(f"There are no labels in {workspace}. Give the server's workspace with --workspace DIR.")
    return StudyLabels(LabelStore(folder), plan)


def _compared(args: argparse.Namespace, labels: StudyLabels) -> ComparedOutlines:
    return ComparedOutlines(labels, Answers(args.workspace, labels.plan.study.name))


def _output(args: argparse.Namespace) -> Path:
    if args.output is None:
        raise UserError("Give a new folder for the files with --output DIR.")
    return new_folder(args.output, "study")


_ACTIONS: dict[str, Callable[[argparse.Namespace, StudyPlan], int]] = {
    "check": _check,
    "agreement": _agreement,
    "export": _export,
}
