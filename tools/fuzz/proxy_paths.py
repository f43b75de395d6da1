"""Path traversal: paths below ``/proxy/dicom`` that would lead a careless proxy out of a PACS's DICOMweb root."""

from __future__ import annotations

import numpy as np

from tools.fuzz.odd_values import one_of

_STARTS = ("qido", "wado", "stow", "", "..", "tools", "qido/studies", "wado/studies/1.2/series/1.3/instances/1.4")
_STEPS = ("..", ".", "", "...", "..;", "x", "1.2", "metadata", "frames", "1")
_ENDS = ("system", "patients", "tools/bulk-delete", "studies", "metadata", "1.2.840", "frames/1", "", "*")
_SEPARATORS = ("/", "//", "\\", "?", "#", ";", "\x00", "\r\n", "@", ":", "%", "\u2215", "\uff0f")
_PLAIN = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_/.;:@*"


def escaping_paths(rng: np.random.Generator) -> str:
    """Return a random path of this kind, with each character percent-encoded up to three times."""
    text = one_of(rng, _STARTS)
    for _ in range(rng.integers(1, 5)):
        text += one_of(rng, _SEPARATORS if rng.random() < 0.4 else ("/",)) + one_of(rng, _STEPS)
    text += "/" + one_of(rng, _ENDS)
    return "".join(_encoded(byte, rng) for byte in text.encode())


def _encoded(byte: int, rng: np.random.Generator) -> str:
    times = int(rng.integers(1, 4)) if rng.random() < 0.3 else 0
    if not times:
        return chr(byte) if byte in _PLAIN else f"%{byte:02x}"
    return "%" + "25" * (times - 1) + f"{byte:02x}"
