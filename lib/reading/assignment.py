"""Who reads which case: as many cases for each reader, and as many in common for each two."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

from lib.reading.study_file import Study


def readers_of_cases(study: Study) -> dict[str, tuple[str, ...]]:
    """Return the readers of each case, in the order of the study file.

    The numbers of cases of two readers differ by one at most. Cases are assigned in the order of the file, so that
    those added at its end do not change the others.
    """
    wanted = study.readers_per_case or len(study.readers)
    cases_of: Counter[str] = Counter()
    common: Counter[frozenset[str]] = Counter()
    assigned = {}
    for case in study.cases:
        chosen: list[str] = []
        while len(chosen) < wanted:
            chosen.append(_next_reader(study, case, chosen, cases_of, common))
        cases_of.update(chosen)
        common.update(frozenset((one, other)) for one in chosen for other in chosen if one < other)
        assigned[case] = tuple(reader for reader in study.readers if reader in chosen)
    return assigned


def random_key(study: Study, *parts: object) -> str:
    """Return a key that sorts at random: the same on every machine, another for each seed and each part."""
    return hashlib.sha256("\n".join(map(str, (study.seed, *parts))).encode()).hexdigest()


def drawn_half(study: Study, what: str, reader: str, cases: Sequence[str]) -> set[str]:
    """Return half of the cases of a reader: one of each two in their order, so that added cases change nothing.

    Args:
        study: The study, whose seed they are drawn from.
        what: What they are drawn for.
        reader: User name.
        cases: All cases of the reader, in the order of the study file.
    """
    drawn: set[str] = set()
    for start in range(0, len(cases), 2):
        two = cases[start : start + 2]
        first = int(random_key(study, what, reader, two[0]), 16) % 2
        drawn.update(two[first : first + 1])
    return drawn


def _next_reader(
    study: Study, case: str, chosen: list[str], cases_of: Counter[str], common: Counter[frozenset[str]]
) -> str:
    """Return the reader with the fewest cases so far; of several, with the fewest in common with those chosen."""
    left = [reader for reader in study.readers if reader not in chosen]
    return min(
        left,
        key=lambda reader: (
            cases_of[reader],
            sum(common[frozenset((reader, other))] for other in chosen),
            random_key(study, "assignment", case, reader),
        ),
    )
