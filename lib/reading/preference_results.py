"""What the readers of a preference study prefer, with intervals over patients."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from lib.evaluation.bootstrap import mean_and_interval, patient_resamples, without_width_of_zero
from lib.evaluation.lesion_classes import lesion_classes
from lib.evaluation.metrics import sphere_diameter
from lib.evaluation.tables import number, with_interval
from lib.reading.preference_answers import Answer, answer_files, answers_in

_GAIN = {"first": 1.0, "equal": 0.5, "second": 0.0}

Row = dict[str, Any]


@dataclass(frozen=True)
class Favour:
    """Exact sign test over patients: a patient favours the outline that is preferred in more of the answers.

    Attributes:
        first: Number of patients who favour the first outline.
        patients: Number of patients who favour one.
        p: Two-sided probability of a majority as large by chance.
        interval_95: Exact interval (Clopper and Pearson 1934) of the share of patients who favour the first.
    """

    first: int
    patients: int
    p: float
    interval_95: list[float]


def preference_rows(answers: Sequence[Answer]) -> list[Row]:
    """Return a row for all answers, for each size of lesions and for each reader.

    Returns:
        Rows with ``class``, the numbers of ``answers``, ``patients``, ``first`` better, ``equal`` and ``second``
        better, and ``share``: ``mean`` and ``interval_95``, by bootstrap over the patients, of the preference for the
        first outline, where an equal counts as a half.
    """
    patients = np.array([one.patient for one in answers])
    resamples = patient_resamples([*patients])
    gains = np.array([_GAIN[one.choice] for one in answers])
    by_lesion = all(one.lesion for one in answers)
    diameters = [sphere_diameter(one.volume_mm3) for one in answers]
    classes = [*lesion_classes(diameters, [None] * len(answers))] if by_lesion else []
    readers = sorted({one.reader for one in answers})
    every = [("all", np.ones(len(answers), bool)), *classes[1:]]
    every += [(f"reader {name}", np.array([one.reader == name for one in answers])) for name in readers]
    return [
        {
            "class": title,
            "answers": int(inside.sum()),
            "patients": len({*patients[inside]}),
            **{name: int((gains[inside] == gain).sum()) for name, gain in _GAIN.items()},
            "share": without_width_of_zero(mean_and_interval(gains, inside, patients, resamples)),
        }
        for title, inside in every
        if inside.any()
    ]


def favour_of_patients(answers: Sequence[Answer]) -> Favour | None:
    """Return the sign test over patients; None if no patient favours either outline."""
    balance: dict[str, float] = defaultdict(float)
    for one in answers:
        balance[one.patient] += _GAIN[one.choice] - 0.5
    first, either = sum(one > 0 for one in balance.values()), sum(one != 0 for one in balance.values())
    if not either:
        return None
    test = binomtest(first, either)
    low, high = test.proportion_ci(method="exact")
    return Favour(first, either, float(test.pvalue), [round(float(low), 4), round(float(high), 4)])


def chosen_as_a(answers: Sequence[Answer]) -> tuple[int, int, float] | None:
    """Return how often A was chosen, of how many choices of A or B, and the exact two-sided probability of that.

    The outlines are A and B at random, so that a share far from a half is a habit of the readers.
    """
    decided = [one for one in answers if one.choice != "equal"]
    if not decided:
        return None
    chosen = sum(one.choice == one.shown_as_a for one in decided)
    return chosen, len(decided), float(binomtest(chosen, len(decided)).pvalue)


def result_sentence(answers: Sequence[Answer]) -> str:
    """Return the result of a preference study in a sentence, for those who decide which version is used."""
    row, favour, one = preference_rows(answers)[0], favour_of_patients(answers), answers[0]
    what = "lesions" if one.lesion else "cases"
    share = with_interval(row["share"]["mean"], row["share"]["interval_95"])
    patients = "patient" if row["patients"] == 1 else "patients"
    text = (
        f"Blinded readers ({one.study}): {one.first} better in {row['first']}, {one.second} better in {row['second']}, "
        f"equal in {row['equal']} of {row['answers']} judgements of {what} of {row['patients']} {patients}; preference "
        f"for {one.first} {share}"
    )
    if favour is None:
        return f"{text}."
    return f"{text}; {favour.first} of {favour.patients} patients favour it (p = {number(favour.p)})."


def known_results(workspace: Path) -> list[Mapping[str, Any]]:
    """Return what readers prefer in each preference study of a workspace: ``study``, ``compare`` and a ``sentence``.

    The study with the latest answer is the last one.
    """
    files = [(path, path.stat().st_mtime_ns) for path in answer_files(workspace)]
    return [*_results(tuple(files))]


@lru_cache(maxsize=8)
def _results(files: tuple[tuple[Path, int], ...]) -> tuple[Mapping[str, Any], ...]:
    """Return the results of some files, for as long as they do not change: the panel asks every four seconds."""
    found = sorted(
        (one for path, _ in files if (one := answers_in(path))), key=lambda answers: max(each.time for each in answers)
    )
    return tuple(
        {"study": one[0].study, "compare": [one[0].first, one[0].second], "sentence": result_sentence(one)}
        for one in found
    )
