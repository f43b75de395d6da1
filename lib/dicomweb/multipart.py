"""Multipart bodies of WADO-RS responses (PS3.18 8.6.1, RFC 2387)."""

from __future__ import annotations

import uuid
from collections.abc import Iterable


def encode(parts: Iterable[bytes], content_type: str) -> tuple[bytes, str]:
    """Join parts into a ``multipart/related`` body.

    Args:
        parts: Content of each part.
        content_type: Content type of every part, with its parameters.

    Returns:
        The body, and the value of its Content-Type header.
    """
    boundary = uuid.uuid4().hex
    chunks: list[bytes] = []
    for part in parts:
        chunks += [f"--{boundary}\r\nContent-Type: {content_type}\r\n\r\n".encode(), part, b"\r\n"]
    chunks.append(f"--{boundary}--\r\n".encode())
    media_type = content_type.split(";", 1)[0]
    return b"".join(chunks), f'multipart/related; type="{media_type}"; boundary={boundary}'
