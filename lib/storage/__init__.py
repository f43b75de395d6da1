"""Files that survive crashes: atomic writes, checksums, JSON state."""
