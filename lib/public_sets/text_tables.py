"""Reader of text files and tables of public sets, in the encodings and separators that programs write."""

from __future__ import annotations

import codecs
import csv
from pathlib import Path

_MARKS = (  # UTF-32 first: its byte order mark begins with that of UTF-16
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SEPARATORS = ",;\t"


def read_text(path: Path) -> str:
    """Read a text file in the encoding of its byte order mark; without one as UTF-8, with Latin-1 as fallback.

    Excel saves "Unicode text" as UTF-16, and CSV as UTF-8 with a mark or in the code page of the country.
    """
    content = path.read_bytes()
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content.decode(encoding, errors="replace")
    if b"\0" in content[:4]:  # UTF-16 without a mark
        return content.decode("utf-16-le" if content[1:2] == b"\0" else "utf-16-be", errors="replace")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def read_rows(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Read a table with a header line; the separator is the comma, semicolon or tab that the header uses.

    Returns:
        The column names, and for each row its line number and its cells by column name. If the separator is not a
        comma, decimal commas are replaced by points.
    """
    lines = read_text(path).splitlines()
    header = lines[0] if lines else ""
    separator = max(_SEPARATORS, key=header.count)
    reader = csv.DictReader(lines, delimiter=separator)
    names = [name.strip() for name in reader.fieldnames or []]
    rows = []
    for row in reader:
        cells = [cell if isinstance(cell, str) else "" for cell in row.values()][: len(names)]
        if separator != ",":
            cells = [_with_point(cell) for cell in cells]
        rows.append((reader.line_num, dict(zip(names, cells, strict=False))))
    return names, rows


def _with_point(cell: str) -> str:
    """Replace the decimal comma of a number by a point; return other text unchanged."""
    number = cell.strip().replace(",", ".")
    try:
        float(number)
    except ValueError:
        return cell
    return number if cell.count(",") == 1 and "." not in cell else cell
