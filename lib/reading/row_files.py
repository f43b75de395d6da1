"""Tables as CSV, and as Parquet where pyarrow is installed."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lib.exports.lesion_table import csv_text
from lib.storage.atomic import write_atomically


def writes_parquet() -> bool:
    """Return whether pyarrow, an optional dependency, is installed in a version that works here."""
    try:
        importlib.import_module("pyarrow.parquet")
    except ImportError:  # also of a version that needs NumPy 2
        return False
    return True


def write_rows(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table to ``path`` with the suffixes ``.csv`` and, if it can be written, ``.parquet``.

    Args:
        path: Path without a suffix.
        columns: Names of the columns, in order; what a row does not have is empty.
        rows: The rows.
    """
    text = csv_text(columns, rows)
    write_atomically(path.with_suffix(".csv"), partial(Path.write_text, data=text, encoding="utf-8"))
    if writes_parquet():
        arrow, parquet = (importlib.import_module(name) for name in ("pyarrow", "pyarrow.parquet"))
        table = arrow.table({name: [row.get(name) for row in rows] for name in columns})
        write_atomically(path.with_suffix(".parquet"), partial(parquet.write_table, table))
