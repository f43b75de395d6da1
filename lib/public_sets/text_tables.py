"""Reader of text files and tables of public sets, in the encodings and separators that programs write."""

from __future__ import annotations

import codecs
import csv
import io
from pathlib import Path

from lib.errors import UserError

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
        The column names, and for each row that is not empty its line number and its cells by column name. If the
        separator is not a comma, decimal commas are replaced by points.

    Raises:
        UserError: Two columns have the same name, a row has more cells than the header, or a quote is not closed.
    """
    lines = io.StringIO(read_text(path), newline="")
    header = lines.readline()
    lines.seek(0)
    separator = max(_SEPARATORS, key=header.count)
    reader = csv.reader(lines, delimiter=separator, strict=True)
    rows = []
    try:
        names = [name.strip() for name in next(reader, [])]
        for row in filter(any, reader):
            if any(row[len(names) :]):  # the decimal commas of a table with commas would shift the columns
                raise UserError(f"Line {reader.line_num} of {path} has {len(row)} cells, its header {len(names)}.")
            cells = row if separator == "," else map(_with_point, row)
            rows.append((reader.line_num, dict(zip(names, cells, strict=False))))
    except csv.Error as error:
        raise UserError(f"Line {reader.line_num} of {path} is damaged: {error}.") from None
    if repeated := sorted({name for name in names if name and names.count(name) > 1}):
        raise UserError(f"{path} has several columns called {', '.join(repeated)}; keep one of them.")
    return names, rows


def _with_point(cell: str) -> str:
    """Replace the decimal comma of a number by a point; return other text unchanged."""
    number = cell.strip().replace(",", ".")
    try:
        float(number)
    except ValueError:
        return cell
    return number if cell.count(",") == 1 and "." not in cell else cell
