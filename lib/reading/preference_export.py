"""Files of a preference study: its results, all answers, and the outlines that were compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lib.evaluation.tables import markdown_table, with_interval
from lib.reading.compared_outlines import ComparedOutlines
from lib.reading.preference_answers import Answer
from lib.reading.preference_results import chosen_as_a, favour_of_patients, preference_rows, result_sentence
from lib.reading.row_files import write_rows
from lib.reading.study_export import copy_content, write_manifest
from lib.storage.atomic import write_json

ANSWER_COLUMNS = (
    "case", "patient", "lesion", "volume_mm3", "reader", "first", "second", "shown_as_a", "choice", "active_seconds",
    "time", "first_label", "second_label",
)  # fmt: skip


def write_results(compared: ComparedOutlines, output: Path) -> str:
    """Write ``preferences.json`` and the table ``answers``; return the results as text.

    Args:
        compared: Outlines and answers of the study.
        output: Folder of the files.
    """
    answers = compared.answers.latest()
    shown = {patient: f"P{number:03}" for number, patient in enumerate(sorted({one.patient for one in answers}), 1)}
    write_rows(output / "answers", ANSWER_COLUMNS, [_row(one, shown) for one in answers])
    favour = favour_of_patients(answers)
    result = {
        "compare": compared.plan.study.compare,
        "rows": preference_rows(answers) if answers else [],
        "patients": asdict(favour) if favour else None,
        "chosen_as_a": chosen_as_a(answers),
    }
    write_json(output / "preferences.json", result)
    return _text(answers, compared)


def write_preference_study(compared: ComparedOutlines, study_file: Path, output: Path) -> dict[str, Any]:
    """Write all that a publication of a preference study needs into a new folder, and return the manifest.

    Beside the files of `write_results`, it holds ``study.yaml`` as it was given; ``outlines/<case>/first.nii.gz`` and
    ``second.nii.gz`` in the order of ``compare``; and ``manifest.json`` with the checksum of each file.
    """
    write_results(compared, output)
    copy_content(study_file.read_bytes(), output / "study.yaml")
    for case in compared.plan.study.cases:
        for name, record in zip(("first", "second"), compared.outlines(case) or (), strict=False):
            copy_content(compared.labels.content(record), output / "outlines" / case / f"{name}.nii.gz")
    return write_manifest(compared.plan, output)


def _row(one: Answer, shown: dict[str, str]) -> dict[str, Any]:
    return {
        **{name: value for name, value in asdict(one).items() if name in ANSWER_COLUMNS},
        "patient": shown[one.patient],
        "first_label": one.labels[0],
        "second_label": one.labels[1],
    }


def _text(answers: Sequence[Answer], compared: ComparedOutlines) -> str:
    if not answers:
        return "Nobody has answered yet.\n"
    first, second = compared.plan.study.compare
    head = ("Class", "answers (patients)", f"{first} better", "equal", f"{second} better", f"preference for {first}")
    rows = [
        (
            row["class"],
            f"{row['answers']} ({row['patients']})",
            *(row[name] for name in ("first", "equal", "second")),
            with_interval(row["share"]["mean"], row["share"]["interval_95"]),
        )
        for row in preference_rows(answers)
    ]
    text = f"{result_sentence(answers)}\n\n{markdown_table(head, rows)}"
    if chosen := chosen_as_a(answers):
        text += f"\nA was chosen in {chosen[0]} of {chosen[1]} choices of A or B (p = {chosen[2]:.3f}).\n"
    return text
