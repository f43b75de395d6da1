"""``report.html``: the paper's tables and figures with the measured and the published values, in one file."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from lib.evaluation.figures import bar_chart
from lib.evaluation.froc import froc_curve
from lib.evaluation.reader_report import reader_section
from lib.evaluation.tables import html_table, number, with_interval

PAPER = {
    "paper: U-Net": {
        "dice": 0.82,
        "iou": 0.74,
        "small_tumor_recall": 0.68,
        "robustness_std": 0.07,
        "accuracy": 0.87,
        "precision": 0.79,
        "sensitivity": 0.68,
        "f_score": 0.73,
    },
    "paper: attention U-Net": {
        "dice": 0.89,
        "iou": 0.83,
        "small_tumor_recall": 0.81,
        "robustness_std": 0.03,
        "accuracy": 0.92,
        "precision": 0.86,
        "sensitivity": 0.81,
        "f_score": 0.83,
    },
}
_TABLE_2 = ("dice", "iou", "small_tumor_recall", "lesion_recall", "false_positives_per_scan", "robustness_std")
_TABLE_3 = ("accuracy", "precision", "sensitivity", "f_score")
_FIGURE_3 = ("dice", "iou", "small_tumor_recall")
_IN_FIGURE_2 = 6
_NAMES = {
    "dice": "Dice",
    "iou": "IoU",
    "small_tumor_recall": "Recall, lesions under 10 mm",
    "lesion_recall": "Recall, all lesions",
    "false_positives_per_scan": "False findings per image",
    "robustness_std": "SD of Dice under changes of intensity",
    "accuracy": "Accuracy",
    "precision": "Precision",
    "sensitivity": "Sensitivity",
    "f_score": "F-score",
}
_NO_TABLE_4 = (
    "Table 4, what each part of the method contributes, needs trainings: see the report of the command ablation."
)
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #1d2733 }
table { border-collapse: collapse; margin: 1rem 0 } caption { text-align: left; font-weight: 600; padding: .3rem 0 }
th, td { border-bottom: 1px solid #d5dce3; padding: .3rem .8rem; text-align: right } th:first-child { text-align: left }
.note { color: #5a6672 } img, svg { max-width: 100%; height: auto; display: block } figure { margin: 1.5rem 0 }
.heads { display: flex; color: #5a6672 } .heads span { flex: 1 } .strip { width: 100% }
td, th:first-child { white-space: nowrap }
"""


def render(
    measured_on: str,
    models: Mapping[str, Mapping[str, Any]],
    cases: Sequence[Mapping[str, Any]],
    further: Sequence[str] = (),
) -> str:
    """Return the HTML page.

    Args:
        measured_on: Description of the images, in a sentence.
        models: Summary of each model.
        cases: Cases, worst first, each with ``name``, ``strip`` (data URL) and ``dice`` by model.
        further: Table 4 and other tables, HTML.
    """
    shown = dict(models) | PAPER
    averaged = next(iter(models.values()))["averaged"]
    heads = ("Image", "Ground truth (green)", *(f"{model} (red)" for model in models))
    parts = [
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>LungLabel evaluation</title>'
        f"<style>{STYLE}</style><h1>LungLabel evaluation</h1>"
        f"<p>{escape(measured_on)}</p>"
        '<p class="note">Research use only, not a medical device. The paper used other images: its values are shown '
        "for reference and are not directly comparable. Intervals are 95 %, by bootstrap over the patients.</p>",
        _table_1(models),
        _measures("Table 2: overlap, recall and robustness", _TABLE_2, shown, averaged),
        _measures("Table 3: voxels classified correctly", _TABLE_3, shown, averaged),
        *(further or [f'<p class="note">{escape(_NO_TABLE_4)}</p>']),
        "<h2>Figure 2: worst cases first</h2>",
        *(_strip(case, heads) for case in cases[:_IN_FIGURE_2]),
        "<h2>Figure 3: Table 2 as bars</h2><figure>"
        + bar_chart({_NAMES[name]: {model: shown[model].get(name) for model in shown} for name in _FIGURE_3})
        + "</figure>",
        "<h2>Supplement</h2>",
        _sizes(models),
        reader_section({model: summary["readers"] for model, summary in models.items()}),
        _froc({model: summary["froc"] for model, summary in models.items() if "froc" in summary}),
    ]
    if rest := cases[_IN_FIGURE_2:]:
        parts += ["<h2>Figure 2, continued</h2>", *(_strip(case, heads) for case in rest)]
    return "\n".join(parts) + "</html>\n"


def _strip(case: Mapping[str, Any], heads: Sequence[str]) -> str:
    scores = ", ".join(f"{escape(model)} {number(value)}" for model, value in case["dice"].items())
    titles = "".join(f"<span>{escape(head)}</span>" for head in heads)
    name = escape(case["name"])
    return (
        f'<figure><div class="heads">{titles}</div><img class="strip" src="{case["strip"]}" alt="Slices of {name}">'
        f"<figcaption>{name}: Dice {scores}</figcaption></figure>"
    )


def _table_1(models: Mapping[str, Mapping[str, Any]]) -> str:
    keys = ("true_positive", "true_negative", "false_positive", "false_negative")
    rows = [(model, *(f"{summary['voxels'][key]:,}" for key in keys)) for model, summary in models.items()]
    head = ("Model", *(key.replace("_", " ") for key in keys))
    return html_table("Table 1: voxels of all images", head, rows)


def _measures(title: str, measures: Sequence[str], models: Mapping[str, Mapping[str, Any]], averaged: Mapping) -> str:
    rows = []
    for measure in measures:
        cells = [
            with_interval(summary.get(measure), summary.get("interval_95", {}).get(measure))
            for summary in models.values()
        ]
        rows.append((f"{_NAMES[measure]} ({averaged[measure]})", *cells))
    return html_table(title, ("Measure", *models), rows)


def _sizes(models: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for model, summary in models.items():
        for size in summary["sizes"]:
            rows.append((f"{model}, {size['title']}", size["lesions"], size["found"], number(size["mean_dice"])))
    head = ("Model, equivalent diameter", "lesions", "found", "mean lesion Dice")
    return html_table("Results by lesion size", head, rows)


def _froc(models: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    if not models:
        return ""
    measures = ("lesion_recall", "small_tumor_recall", "lesion_dice", "false_positives_per_scan")
    rows = [
        (f"{model}, {point['false_findings_per_scan']}", *(number(point[measure]) for measure in measures))
        for model, points in models.items()
        for point in points
    ]
    head = (
        "Model, false_findings_per_scan",
        "lesions found",
        "under 10 mm",
        "mean lesion Dice",
        "false positives per scan",
    )
    return (
        f"<figure>{froc_curve(models)}<figcaption>FROC: one point per limit (false_findings_per_scan), "
        "for whole scans only, since crops have no such threshold.</figcaption></figure>"
        + html_table("Results at other confidence thresholds", head, rows)
    )
