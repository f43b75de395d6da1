"""The server's log file, kept in the workspace: it concerns patients, and the app's folder may be read-only."""

from __future__ import annotations

import logging
from pathlib import Path

from monailabel.config import settings

from lib.storage.atomic import make_folder
from lib.storage.state_file import move_aside

_NAME = Path("logs", "app.log")


def move_log(workspace: Path) -> None:
    """Redirect the file handlers that MONAI Label has set up to the workspace."""
    target = workspace / _NAME
    if target.parent.exists() and not target.parent.is_dir():
        move_aside(target.parent)
    make_folder(target.parent)
    if target.is_dir():
        move_aside(target)
    target.touch(mode=0o600)
    for handler in _handlers():
        handler.close()  # it opens its file anew with the next message
        handler.baseFilename = str(target)


def log_path() -> Path:
    """Where the log is."""
    return next((Path(handler.baseFilename) for handler in _handlers()), Path(settings.MONAI_LABEL_APP_DIR) / _NAME)


def _handlers() -> list[logging.FileHandler]:
    root = logging.getLogger()
    loggers = [root, *(one for one in root.manager.loggerDict.values() if isinstance(one, logging.Logger))]
    found = {id(handler): handler for one in loggers for handler in one.handlers}
    return [
        handler
        for handler in found.values()
        if isinstance(handler, logging.FileHandler) and Path(handler.baseFilename).name == _NAME.name
    ]
