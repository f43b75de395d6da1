"""Tables of results in HTML and Markdown."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

Row = Sequence[object]


def html_table(caption: str, head: Row, rows: Sequence[Row]) -> str:
    """Return a table element; the first cell of each row is its heading."""
    first = "".join(f"<th>{escape(str(cell))}</th>" for cell in head)
    body = "".join(
        "<tr>" + f"<th>{escape(str(row[0]))}</th>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row[1:])
        for row in rows
    )
    return f"<table><caption>{escape(caption)}</caption><tr>{first}</tr>{body}</table>"


def markdown_table(head: Row, rows: Sequence[Row]) -> str:
    """Return a table in Markdown, with a line break at its end."""
    first, *others = ("| " + " | ".join(map(str, line)) + " |\n" for line in (head, *rows))
    return first + "|" + "---|" * len(head) + "\n" + "".join(others)


def number(value: float | None) -> str:
    """Return a value with three decimals, a dash for None."""
    return "–" if value is None else f"{value:.3f}"


def with_interval(value: float | None, interval: Sequence[float] | None) -> str:
    """Return a value and its interval in parentheses, without them if there is none."""
    return number(value) + (f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else "")


def mean_with_interval(measured: Mapping[str, Any]) -> str:
    """Return ``mean`` and ``interval_95`` of a measure."""
    return with_interval(measured["mean"], measured["interval_95"])
