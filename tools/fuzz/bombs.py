"""Decompression bombs."""

from __future__ import annotations

import struct
import zlib

_BLOCK = bytes(1 << 20)


def deflate(start: bytes, zeros: int, wbits: int = -15) -> bytes:
    """Return ``start`` followed by ``zeros`` MiB of zeros, deflated; the compressed block of zeros is repeated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    head = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(_BLOCK) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + block * zeros + packer.flush()


def gzip(start: bytes, zeros: int) -> bytes:
    """Return the same as a gzip file (RFC 1952) with the right length but a wrong checksum."""
    length = (len(start) + zeros * len(_BLOCK)) % (1 << 32)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + deflate(start, zeros) + struct.pack("<II", 0, length)
