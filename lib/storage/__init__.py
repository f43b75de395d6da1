"""Crash-safe files: atomic writes, checksums, JSON state."""
