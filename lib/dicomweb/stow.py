"""Bodies of STOW-RS requests (PS3.18 10.5) on disk; only objects derived from images are accepted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO

from pydicom import Dataset
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    ExtensibleSRStorage,
    RTStructureSetStorage,
    SegmentationStorage,
)
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from lib.errors import UserError, in_one_line

ACCEPTED_CLASSES = (
    SegmentationStorage,
    RTStructureSetStorage,
    BasicTextSRStorage,
    EnhancedSRStorage,
    ComprehensiveSRStorage,
    Comprehensive3DSRStorage,
    ExtensibleSRStorage,
)
_BLOCK = 1 << 20
_MOST_PARTS = 1000
_UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_LAST_UID = 0x0020000E  # Series Instance UID, the highest tag of these

# Failure Reason (0008,1197), PS3.18 I.2.2 and PS3.7 C.
DUPLICATE, CLASS_NOT_SUPPORTED, DOES_NOT_FIT, NOT_UNDERSTOOD = 0x0111, 0x0122, 0xA900, 0xC000


class NotStoredError(Exception):
    """Raised for an instance that is not stored.

    Args:
        reason: Failure Reason (0008,1197).
        message: Why it is not stored, and what to do.
        header: Known UIDs of the instance.
    """

    def __init__(self, reason: int, message: str, header: Dataset | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.header = header if header is not None else Dataset()


@dataclass(frozen=True)
class Received:
    """Body of a STOW-RS request on disk.

    Attributes:
        body: File with the whole body.
        parts: Files with the content of each part.
    """

    body: Path
    parts: list[Path]

    def check_classes(self) -> None:
        """Check that the SOP Class of every instance is accepted.

        Raises:
            UserError: A SOP Class is not accepted, or a part is not a DICOM instance.
        """
        for part in self.parts:
            try:
                read_uids(part)
            except NotStoredError as error:
                raise UserError(str(error), HTTPStatus.CONFLICT) from error


def read_uids(path: Path) -> Dataset:
    """Read the UIDs of an instance that is to be stored.

    Raises:
        NotStoredError: The file is not a DICOM instance, lacks a valid UID, or has a SOP Class that is not accepted.
    """
    try:
        with path.open("rb") as file:
            found = read_partial(file, _after_the_uids(), specific_tags=[Tag(keyword) for keyword in _UIDS])
        header = Dataset()
        for keyword in _UIDS:
            setattr(header, keyword, str(found.get(keyword) or ""))
    except OSError as error:
        if error.errno is not None:
            raise
        raise NotStoredError(NOT_UNDERSTOOD, f"A part of the body is damaged ({in_one_line(error)}).") from error
    except Exception as error:  # pydicom raises many types on invalid files
        reason = in_one_line(error)
        raise NotStoredError(
            NOT_UNDERSTOOD, f"A part of the body is not a DICOM file that can be stored ({reason})."
        ) from error
    for keyword in _UIDS:
        if not UID(header[keyword].value).is_valid:
            raise NotStoredError(NOT_UNDERSTOOD, f"An instance has no valid {keyword}, so it cannot be stored.", header)
    if header.SOPClassUID not in ACCEPTED_CLASSES:
        raise NotStoredError(
            CLASS_NOT_SUPPORTED,
            f"Instance {header.SOPInstanceUID} has the SOP Class {header.SOPClassUID.name}. Only objects derived from "
            "images are stored: DICOM SEG, SR and RTSTRUCT. Add images to the folder or PACS itself.",
            header,
        )
    return header


def _after_the_uids() -> Callable[[BaseTag, str | None, int], bool]:
    """Return pydicom's stop condition: after the UIDs, or if tags do not ascend, which indicates invalid data."""
    last = -1

    def passed(tag: BaseTag, vr: str | None, length: int) -> bool:
        nonlocal last
        ascending, last = tag > last, tag
        return not ascending or tag > _LAST_UID

    return passed


def boundary_of(content_type: str) -> bytes:
    """Return the boundary of a STOW-RS body from its Content-Type.

    Raises:
        UserError: It is not ``multipart/related; type="application/dicom"`` (415), or names no boundary.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/related" or options.get(b"type", b"").lower() != b"application/dicom":
        raise UserError(
            'Instances are stored as multipart/related; type="application/dicom" (PS3.18 10.5), '
            f"not as {content_type[:100] or 'a body without a type'!r}.",
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        )
    if not options.get(b"boundary"):
        raise UserError("The Content-Type of a multipart body must name its boundary.")
    return options[b"boundary"]


def split_parts(body: Path, boundary: bytes) -> list[Path]:
    """Write each part of a multipart body (RFC 2046) to a file next to it, and return these files.

    Raises:
        UserError: The body is damaged, or has too many parts.
    """
    damaged = UserError(
        "The body is truncated, or is not a multipart body with the boundary that its Content-Type names."
    )
    with contextlib.closing(_PartWriter(body)) as parts, body.open("rb") as source:
        try:
            parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": parts.begin,
                    "on_part_data": parts.write,
                    "on_part_end": parts.close,
                    "on_end": parts.finish,
                },
            )
            while block := source.read(_BLOCK):
                parser.write(block)
            parser.finalize()
        except FormParserError as error:
            raise damaged from error
    if not parts.finished or not parts.paths:
        raise damaged
    return parts.paths


class _PartWriter:
    """Callbacks of the multipart parser that write each part to a file next to the body."""

    def __init__(self, body: Path) -> None:
        self._body = body
        self._file: BinaryIO | None = None
        self.paths: list[Path] = []
        self.finished = False

    def begin(self) -> None:
        if len(self.paths) >= _MOST_PARTS:
            raise UserError(f"The body has more than {_MOST_PARTS} parts; send the instances in several requests.")
        self.paths.append(self._body.with_name(f"{len(self.paths)}.dcm"))
        self._file = self.paths[-1].open("wb")

    def write(self, content: bytes, start: int, end: int) -> None:
        assert self._file is not None, "the parser begins a part before it has data"
        self._file.write(memoryview(content)[start:end])

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def finish(self) -> None:
        self.finished = True
