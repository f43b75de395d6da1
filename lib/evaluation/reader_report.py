"""Comparison of the models with the readers: as text, and as table and figure of ``report.html``."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from lib.evaluation.figures import bar_chart
from lib.evaluation.tables import html_table, markdown_table, mean_with_interval

_COLUMNS = {
    "model": "model, consensus",
    "reader": "reader, consensus of the others",
    "difference": "difference",
    "model_with_others": "model, consensus of the others",
    "difference_with_others": "difference, same consensus for both",
    "pairs": "two readers",
}
_HEAD = ("Class", "images (patients)", *_COLUMNS.values())
_NOTE = (
    "Dice over each image. The consensus is what at least half of the readers marked. A reader is compared with the "
    "consensus of the others, on images of three or more readers; the model with the consensus of all and, as the "
    "same test for both, with that of all readers but one. Sizes are diameters of a sphere with the volume of the "
    "consensus; textures are the median of the readers' ratings. Intervals are 95 %, by bootstrap over the patients; "
    "a model is above the readers where the interval of the difference is above 0."
)

Comparison = Sequence[Mapping[str, Any]]  # rows of `compare_with_readers`


def reader_text(models: Mapping[str, Comparison]) -> str:
    """Return a Markdown table for each model; empty without images of several readers."""
    return "\n".join(f"{model}\n\n{markdown_table(_HEAD, _rows(rows))}" for model, rows in models.items() if rows)


def reader_section(models: Mapping[str, Comparison]) -> str:
    """Return the HTML of the comparison; empty without images of several readers."""
    if not any(models.values()):
        return ""
    tables = [html_table(f"{model} beside the readers", _HEAD, _rows(rows)) for model, rows in models.items()]
    return (
        f'<h2>Beside the readers</h2><p class="note">{escape(_NOTE)}</p>{"".join(tables)}<figure>{_figure(models)}'
        "<figcaption>Dice with the consensus (models) and with the consensus of the others (readers), by size and "
        "texture, with 95 % intervals.</figcaption></figure>"
    )


def _rows(rows: Comparison) -> list[tuple[str, ...]]:
    return [
        (
            row["class"],
            f"{row['images']} ({row['patients']})",
            *(_cell(row[name]) for name in _COLUMNS),
        )
        for row in rows
    ]


def _cell(measured: Mapping[str, Any]) -> str:
    text = mean_with_interval(measured)
    return f"{text}: {measured['verdict']}" if "verdict" in measured else text


def _figure(models: Mapping[str, Comparison]) -> str:
    first = next(rows for rows in models.values() if rows)
    bars = {
        row["class"]: {model: rows[number]["model"] for model, rows in models.items()} | {"a reader": row["reader"]}
        for number, row in enumerate(first)
    }
    return bar_chart(
        {title: {name: one["mean"] for name, one in group.items()} for title, group in bars.items()},
        {title: {name: one["interval_95"] for name, one in group.items()} for title, group in bars.items()},
    )
