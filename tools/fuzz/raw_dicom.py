"""DICOM files as raw elements, which can be written with errors that pydicom would reject."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword

_LONG = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "UC", "UN", "UR", "UT")  # PS3.5 7.1.2
_META = 0x00030000


@dataclass
class RawDicom:
    """A DICOM file in Explicit VR Little Endian.

    Attributes:
        meta: VR and value of the elements of group 0002, by tag.
        body: VR and value of the other elements, by tag.
    """

    meta: dict[int, tuple[str, bytes]]
    body: dict[int, tuple[str, bytes]]

    @classmethod
    def read(cls, path: Path) -> RawDicom:
        """Read a valid file without sequences."""
        dataset = dcmread(path)
        meta = {tag: (element.VR, str(element.value).encode()) for tag, element in dataset.file_meta.items()}
        meta[0x00020001] = ("OB", b"\0\1")
        meta.pop(0x00020000, None)
        return cls(meta, _raw_elements(dataset))

    def text(self, keyword: str) -> str:
        """Return the value of a text element."""
        return self.body[tag_for_keyword(keyword)][1].decode().strip("\0 ")

    def set(self, keyword: str, value: str | bytes, *, vr: str | None = None) -> None:
        """Set an element to any text or bytes, with its own VR or another."""
        tag = tag_for_keyword(keyword)
        part = self.meta if tag < _META else self.body
        content = value.encode("utf-8", "replace") if isinstance(value, str) else value
        part[tag] = (vr or dictionary_VR(tag)[:2], content)

    def remove(self, keyword: str) -> None:
        """Remove an element."""
        self.body.pop(tag_for_keyword(keyword), None)

    def encoded(self) -> bytes:
        """Return the encoded file."""
        return self.encoded_meta() + self.encoded_body()

    def encoded_meta(self) -> bytes:
        """Return the encoded preamble, prefix and group 0002 (PS3.10 7.1)."""
        group = _elements(self.meta)
        return bytes(128) + b"DICM" + _element(0x00020000, "UL", struct.pack("<I", len(group))) + group

    def encoded_body(self) -> bytes:
        """Return the encoded dataset."""
        return _elements(self.body)


def _elements(part: dict[int, tuple[str, bytes]]) -> bytes:
    return b"".join(_element(tag, *part[tag]) for tag in sorted(part))


def _element(tag: int, vr: str, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    start = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    if vr in _LONG:
        return start + struct.pack("<HI", 0, len(value)) + value
    return start + struct.pack("<H", len(value) & 0xFFFF) + value


def _raw_elements(dataset: Dataset) -> dict[int, tuple[str, bytes]]:
    """Return VR and value of all elements, which pydicom has not parsed yet."""
    elements = [dataset.get_item(tag) for tag in list(dataset.keys())]
    # Only the character set has been decoded.
    return {
        int(one.tag): (one.VR, one.value if isinstance(one.value, bytes) else str(one.value).encode())
        for one in elements
    }
