"""Small JSON files in which the app remembers things, in whatever state a crash or an editor left them."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)


def read_state(path: Path) -> dict[str, Any]:
    """Read a JSON object that was written before; empty where there is none.

    Raises:
        ValueError: It is damaged.
        OSError: It cannot be read; a folder may be in its place.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(content, dict):
        raise ValueError(f"it holds {type(content).__name__}, not an object")
    return content


def set_aside(path: Path) -> Path:
    """Rename a damaged file, or a folder in the place of one, so that its name is free and nothing is lost.

    Returns:
        Where it is now: beside its place, the time in its name.
    """
    aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 1_000_000:06d}")
    path.rename(aside)
    logger.warning("%s is damaged; it was set aside as %s", path, aside.name)
    return aside
