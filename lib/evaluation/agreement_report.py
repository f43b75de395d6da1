"""Agreement of readers as an HTML page with tables and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from types import MappingProxyType
from typing import Any

from lib.evaluation.agreement_summary import compare_volumes, summarise_agreement
from lib.evaluation.bland_altman import Difference
from lib.evaluation.bland_altman_plot import bland_altman_plot
from lib.evaluation.figures import bar_chart
from lib.evaluation.lesion_agreement import LesionAgreement
from lib.evaluation.reader_agreement import (
    PAIR_MEASURES,
    PatientSeconds,
    compare_conditions,
    mean_seconds,
    summarise_pairs,
    summarise_readers,
)
from lib.evaluation.report import STYLE
from lib.evaluation.tables import html_table, mean_with_interval

_NOTE = (
    "Lesions of readers that share a voxel are the same lesion. Detection is the share of the readers who marked a "
    "lesion. Dice, mean distance of the surfaces and 95th percentile of that distance (Hausdorff) are of each two "
    "readers who both marked it, averaged over the pairs and then over the lesions. Kappa is Fleiss' kappa over the "
    "voxels of the bounding box of all outlines of a lesion. Sizes are diameters of a sphere with the mean volume; "
    "textures are the median of the readers' ratings. Lesions that no reader marked are not known: detection is among "
    "those that somebody marked. Intervals are 95 %, by bootstrap over the patients, so that several lesions of a "
    "patient are no independent observations; they are left out for fewer than five patients, and where all values are "
    "the same. They are not corrected for the number of comparisons."
)
_COLUMNS = {
    "detection": "detection",
    "dice": "Dice",
    "surface_mm": "mean surface distance, mm",
    "hausdorff_95_mm": "95 % Hausdorff distance, mm",
    "kappa": "Fleiss' kappa",
}
_IN_FIGURE = ("detection", "dice")


def render_agreement(
    title: str,
    measured_on: str,
    conditions: Mapping[str, Sequence[LesionAgreement]],
    seconds: Mapping[str, Sequence[PatientSeconds]] = MappingProxyType({}),
) -> str:
    """Return the page.

    Args:
        title: Its title.
        measured_on: Description of readers and cases, in a sentence.
        conditions: Lesions by condition, such as without and with the model's mask.
        seconds: Active time of each reading by condition.
    """
    sections = "".join(_section(name, lesions, seconds.get(name, ())) for name, lesions in conditions.items())
    sections += _change(conditions, seconds)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
        f"<h1>{escape(title)}</h1><p>{escape(measured_on)}</p>"
        f'<p class="note">Research use only, not a medical device. {escape(_NOTE)}</p>'
        f"{sections or '<p>No lesion was read by two readers yet.</p>'}</html>\n"
    )


def _section(name: str, lesions: Sequence[LesionAgreement], seconds: Sequence[PatientSeconds]) -> str:
    rows = summarise_agreement(lesions)
    head = ("Class", "lesions (patients)", *_COLUMNS.values())
    cells = [(row["class"], _counts(row), *(mean_with_interval(row[one]) for one in _COLUMNS)) for row in rows]
    marked = ", ".join(f"{count} by {who}" for who, count in rows[0]["marked_by"].items())
    chart = bar_chart(
        {row["class"]: {_COLUMNS[one]: row[one]["mean"] for one in _IN_FIGURE} for row in rows},
        {row["class"]: {_COLUMNS[one]: row[one]["interval_95"] for one in _IN_FIGURE} for row in rows},
    )
    return (
        f"<h2>Readings {escape(name)}</h2>{html_table('Agreement', head, cells)}"
        f"<p>Lesions marked: {escape(marked)} readers.</p><figure>{chart}<figcaption>Detection and Dice by size and "
        f"texture.</figcaption></figure>{_readers(lesions)}{_times(seconds)}{_volumes(lesions)}"
    )


def _readers(lesions: Sequence[LesionAgreement]) -> str:
    """Return a table of the readers, and one of each two of them."""
    head = ("Reader", "lesions (patients)", "detection", "marked by nobody else", "Dice with the others")
    cells = [
        (
            row["reader"],
            _counts(row),
            mean_with_interval(row["detection"]),
            row["alone"],
            mean_with_interval(row["dice"]),
        )
        for row in summarise_readers(lesions)
    ]
    of_pairs = [name for name in _COLUMNS if name in PAIR_MEASURES]
    pairs = [
        (f"{row['first']}, {row['second']}", _counts(row), *(mean_with_interval(row[name]) for name in of_pairs))
        for row in summarise_pairs(lesions)
    ]
    pair_head = ("Readers", "lesions (patients)", *(_COLUMNS[name] for name in of_pairs))
    return html_table("Each reader", head, cells) + html_table("Each two readers", pair_head, pairs)


def _times(seconds: Sequence[PatientSeconds]) -> str:
    if not seconds:
        return ""
    row = mean_seconds(seconds)
    between = row["interval_95"]
    interval = f" ({between[0]:.0f} to {between[1]:.0f})" if between else ""
    return (
        f"<p>Active reading time of a case: mean {row['mean']:.0f} s{interval}, median {row['median']:.0f} s, "
        f"{row['readings']} readings.</p>"
    )


def _change(
    conditions: Mapping[str, Sequence[LesionAgreement]], seconds: Mapping[str, Sequence[PatientSeconds]]
) -> str:
    rows = compare_conditions(conditions, seconds)
    if not rows:
        return ""
    names = {**_COLUMNS, "active_seconds": "active time of a case, s"}
    cells = [(names[row["measure"]], row["patients"], mean_with_interval(row)) for row in rows]
    before, after = conditions
    caption = f"Change from readings {before} to readings {after}, paired by patient"
    return f"<h2>Change</h2>{html_table(caption, ('Measure', 'patients', 'difference'), cells)}"


def _counts(row: Mapping[str, Any]) -> str:
    return f"{row['lesions']} ({row['patients']})"


def _volumes(lesions: Sequence[LesionAgreement]) -> str:
    rows = compare_volumes(lesions)
    if not rows:
        return ""
    head = ("Readers", "lesions (patients)", "bias, %", "lower limit, %", "upper limit, %", "bias, mm³", "slope")
    cells = [
        (
            f"{row['first']} − {row['second']}",
            _counts(row),
            *(_with_interval(row["percent"], name) for name in ("bias", "low", "high")),
            _with_interval(row["mm3"], "bias"),
            "–" if row["slope"] is None else f"{row['slope']:+.3f}",
        )
        for row in rows
    ]
    plots = "".join(_plot(row, lesions) for row in rows)
    table = html_table("Volumes (Bland-Altman)", head, cells)
    caption = "<p>Line: bias; dashed: limits of agreement; bands: their 95 % intervals.</p>"
    return f'{table}<figure style="display: flex; flex-wrap: wrap">{plots}</figure>{caption}'


def _with_interval(difference: Mapping[str, Any], name: str) -> str:
    interval = (difference["intervals"] or {}).get(name)
    between = f" ({interval[0]:+.1f} to {interval[1]:+.1f})" if interval else ""
    return f"{difference[name]:+.1f}{between}"


def _plot(row: Mapping[str, Any], lesions: Sequence[LesionAgreement]) -> str:
    first, second = row["first"], row["second"]
    both = [one.volumes_mm3 for one in lesions if {first, second} <= one.volumes_mm3.keys()]
    ones, others = ([of[reader] for of in both] for reader in (first, second))
    return bland_altman_plot(f"{first} − {second}", ones, others, Difference(**row["percent"]))
