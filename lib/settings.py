"""The app's settings: defaults from ``info.yaml``, changed by ``--conf``, checked once, here."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lib.errors import UserError

APP_DIR = Path(__file__).resolve().parent.parent
_CONF_NAMES = ("workspace", "model_dir", "rescan_seconds")


def load_info(path: Path = APP_DIR / "info.yaml") -> dict[str, Any]:
    """Read ``info.yaml``: name, labels, network, preprocessing and the ``config`` of infer and train."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Settings:
    """Where things are kept and how the app behaves, all values parsed and checked.

    Attributes:
        studies: DICOM folder (absolute path) or DICOMweb URL.
        workspace: Folder for labels, DICOM SEG and cache; never inside the user's DICOM folder.
        model_dir: Folder of the weights that the app begins with, ``pretrained_lung_tumor.pt``; only read.
        rescan_seconds: Pause between two looks for new series.
        info: ``info.yaml`` with the changes of ``--conf`` applied to its ``config``.
    """

    studies: str
    workspace: Path
    model_dir: Path
    rescan_seconds: float
    info: dict[str, Any]

    @classmethod
    def from_conf(cls, studies: str, conf: Mapping[str, str] | None = None) -> Settings:
        """Parse what ``monailabel start_server`` was given.

        Args:
            studies: Value of ``--studies``.
            conf: The pairs of ``--conf NAME VALUE``; all values are strings.

        Raises:
            UserError: A name is unknown, a value cannot be parsed, or the workspace lies in the DICOM folder.
        """
        conf = dict(conf or {})
        info = load_info()
        overrides = {name: value for name, value in conf.items() if name not in _CONF_NAMES}
        _apply(info["config"], overrides)
        if not is_url(studies):
            studies = str(Path(studies).resolve())
        workspace = Path(conf.get("workspace") or _default_workspace(studies)).expanduser().resolve()
        if not is_url(studies) and workspace.is_relative_to(studies):
            raise UserError(
                f"The workspace {workspace} lies inside the DICOM folder {studies}, which is never written to. "
                "Choose another one with --conf workspace DIR."
            )
        return cls(
            studies=studies,
            workspace=workspace,
            model_dir=Path(conf.get("model_dir") or APP_DIR / "model").expanduser().resolve(),
            rescan_seconds=_number("rescan_seconds", conf.get("rescan_seconds", "10"), float),
            info=info,
        )

    @property
    def labels_dir(self) -> Path:
        """Every label ever submitted. Precious."""
        return self.workspace / "labels"

    @property
    def models_dir(self) -> Path:
        """Every model version, which one serves, and the history of that. Precious."""
        return self.workspace / "models"

    @property
    def segs_dir(self) -> Path:
        """DICOM objects written by this app or stored by a viewer. Precious."""
        return self.workspace / "segs"

    @property
    def cache_dir(self) -> Path:
        """Index, volumes, uploads. May be deleted at any time."""
        return self.workspace / "cache"


def is_url(studies: str) -> bool:
    """Tell a DICOMweb URL from a folder."""
    return studies.startswith(("http://", "https://"))


def _default_workspace(studies: str) -> Path:
    data_home = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    name = Path(studies.rstrip("/")).name or "studies"
    return data_home / "lunglabel" / f"{name}-{hashlib.sha256(studies.encode()).hexdigest()[:8]}"


def _apply(config: dict[str, dict[str, Any]], overrides: Mapping[str, str]) -> None:
    """Put ``--conf`` values into the sections of ``config`` that have them, in the type of the default."""
    known = {name for section in config.values() for name in section}
    for name, text in overrides.items():
        if name not in known:
            raise UserError(f"--conf {name} is not known. Known: {', '.join(sorted(known | set(_CONF_NAMES)))}.")
        for section in config.values():
            if name in section:
                section[name] = _parse(name, text, section[name])


def _parse(name: str, text: str, default: Any) -> Any:
    if isinstance(default, bool):
        if str(text).lower() not in ("true", "false", "1", "0", "yes", "no"):
            raise UserError(f"--conf {name} must be true or false, not {text!r}.")
        return str(text).lower() in ("true", "1", "yes")
    if isinstance(default, int | float):
        return _number(name, text, type(default))
    if isinstance(default, str) or default is None:
        return text
    value = yaml.safe_load(str(text))
    if type(value) is not type(default):
        raise UserError(f"--conf {name} must look like {default!r}, not {text!r}.")
    return value


def _number(name: str, text: str, kind: type) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise UserError(f"--conf {name} must be a number, not {text!r}.") from None
