"""Decompression bombs."""

from __future__ import annotations

import struct
import zlib

_BLOCK = bytes(1 << 20)


def deflate(start: bytes, zeros: int, wbits: int = -15) -> bytes:
    """``start`` and then so many MiB of zeros, deflated without making them: every block is compressed once."""
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    head = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(_BLOCK) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + block * zeros + packer.flush()


def gzip(start: bytes, zeros: int) -> bytes:
    """The same as a gzip file (RFC 1952). Its checksum is right only of its length, as nobody gets that far."""
    length = (len(start) + zeros * len(_BLOCK)) % (1 << 32)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + deflate(start, zeros) + struct.pack("<II", 0, length)
