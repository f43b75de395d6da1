"""Location of the server's log: in the workspace, since it concerns patients and the app's folder may be read-only."""

from __future__ import annotations

from pathlib import Path

from monailabel.config import settings

from lib.server.upstream_patches import log_file_handlers, redirect_log_files
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
    redirect_log_files(target)


def log_path() -> Path:
    """Return the path of the log."""
    handlers = log_file_handlers(_NAME.name)
    return Path(handlers[0].baseFilename) if handlers else Path(settings.MONAI_LABEL_APP_DIR) / _NAME
