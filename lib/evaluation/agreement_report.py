"""Agreement of readers as an HTML page with tables and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from lib.evaluation.agreement_summary import compare_volumes, summarise_agreement
from lib.evaluation.bland_altman import Difference
from lib.evaluation.bland_altman_plot import bland_altman_plot
from lib.evaluation.figures import bar_chart
from lib.evaluation.lesion_agreement import LesionAgreement
from lib.evaluation.report import STYLE
from lib.evaluation.tables import html_table, mean_with_interval

_NOTE = (
    "Lesions of readers that share a voxel are the same lesion. Detection is the share of the readers who marked a "
    "lesion. Dice, mean distance of the surfaces and 95th percentile of that distance (Hausdorff) are of each two "
    "readers who both marked it, averaged over the pairs and then over the lesions. Kappa is Fleiss' kappa over the "
    "voxels of the bounding box of all outlines of a lesion. Sizes are diameters of a sphere with the mean volume; "
    "textures are the median of the readers' ratings. Intervals are 95 %, by bootstrap over the patients, and are left "
    "out for fewer than five."
)
_COLUMNS = {
    "detection": "detection",
    "dice": "Dice",
    "surface_mm": "mean surface distance, mm",
    "hausdorff_95_mm": "95 % Hausdorff distance, mm",
    "kappa": "Fleiss' kappa",
}
_IN_FIGURE = ("detection", "dice")


def render_agreement(title: str, measured_on: str, conditions: Mapping[str, Sequence[LesionAgreement]]) -> str:
    """Return the page.

    Args:
        title: Its title.
        measured_on: Description of readers and cases, in a sentence.
        conditions: Lesions by condition, such as with and without the model's mask.
    """
    sections = "".join(_section(name, lesions) for name, lesions in conditions.items())
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
        f"<h1>{escape(title)}</h1><p>{escape(measured_on)}</p>"
        f'<p class="note">Research use only, not a medical device. {escape(_NOTE)}</p>'
        f"{sections or '<p>No lesion was read by two readers yet.</p>'}</html>\n"
    )


def _section(name: str, lesions: Sequence[LesionAgreement]) -> str:
    rows = summarise_agreement(lesions)
    head = ("Class", "lesions (patients)", *_COLUMNS.values())
    cells = [
        (row["class"], f"{row['lesions']} ({row['patients']})", *(mean_with_interval(row[one]) for one in _COLUMNS))
        for row in rows
    ]
    marked = ", ".join(f"{count} by {who}" for who, count in rows[0]["marked_by"].items())
    chart = bar_chart(
        {row["class"]: {_COLUMNS[one]: row[one]["mean"] for one in _IN_FIGURE} for row in rows},
        {row["class"]: {_COLUMNS[one]: row[one]["interval_95"] for one in _IN_FIGURE} for row in rows},
    )
    return (
        f"<h2>Readings {escape(name)}</h2>{html_table('Agreement', head, cells)}"
        f"<p>Lesions marked: {escape(marked)} readers.</p><figure>{chart}<figcaption>Detection and Dice by size and "
        f"texture.</figcaption></figure>{_volumes(lesions)}"
    )


def _volumes(lesions: Sequence[LesionAgreement]) -> str:
    rows = compare_volumes(lesions)
    if not rows:
        return ""
    head = ("Readers", "lesions (patients)", "bias, %", "limits of agreement, %", "bias, mm³", "slope")
    cells = [
        (
            f"{row['first']} − {row['second']}",
            f"{row['lesions']} ({row['patients']})",
            _bias(row["percent"]),
            f"{row['percent']['low']:+.1f} to {row['percent']['high']:+.1f}",
            _bias(row["mm3"]),
            "–" if row["slope"] is None else f"{row['slope']:+.3f}",
        )
        for row in rows
    ]
    plots = "".join(_plot(row, lesions) for row in rows)
    table = html_table("Volumes (Bland-Altman)", head, cells)
    return f'{table}<figure style="display: flex; flex-wrap: wrap">{plots}</figure>'


def _bias(difference: Mapping[str, Any]) -> str:
    intervals = difference["intervals"]
    between = f" ({intervals['bias'][0]:+.1f} to {intervals['bias'][1]:+.1f})" if intervals else ""
    return f"{difference['bias']:+.1f}{between}"


def _plot(row: Mapping[str, Any], lesions: Sequence[LesionAgreement]) -> str:
    first, second = row["first"], row["second"]
    both = [one.volumes_mm3 for one in lesions if {first, second} <= one.volumes_mm3.keys()]
    ones, others = ([of[reader] for of in both] for reader in (first, second))
    return bland_altman_plot(f"{first} − {second}", ones, others, Difference(**row["percent"]))
