"""The settings of one run of the app: of ``info.yaml`` and ``--conf``, and the folders that follow from them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.dicomweb.login import Login, split_login
from lib.settings.problems import SettingsError
from lib.settings.reading import APP_DIR, changes, read_settings


@dataclass(frozen=True)
class Settings:
    """Where things are kept and how the app behaves, all values parsed and checked.

    Attributes:
        studies: DICOM folder (absolute path) or DICOMweb URL, without user and password.
        workspace: Folder for labels, DICOM SEG and cache; never inside the user's DICOM folder.
        model_dir: Folder of the weights that the app begins with, ``pretrained_lung_tumor.pt``; only read.
        rescan_seconds: Pause between two looks for new series.
        info: ``info.yaml`` with the changes of ``--conf`` applied to its ``config``.
        changed: What differs from the defaults: ``name``, ``value``, ``default``, ``meaning`` and ``source`` of each.
        login: User and password that the URL named; None where it named none.
    """

    studies: str
    workspace: Path
    model_dir: Path
    rescan_seconds: float
    info: dict[str, Any]
    changed: tuple[dict[str, Any], ...] = ()
    login: Login | None = field(default=None, repr=False)

    @classmethod
    def from_conf(cls, studies: str, conf: Mapping[str, str] | None = None) -> Settings:
        """Parse what ``monailabel start_server`` was given.

        Args:
            studies: Value of ``--studies``.
            conf: The pairs of ``--conf NAME VALUE``; all values are strings.

        Raises:
            SettingsError: Names or values of ``info.yaml`` or ``--conf`` are wrong, or the workspace lies in the
                DICOM folder.
        """
        conf = dict(conf or {})
        info, start = read_settings(conf)
        login = None
        if is_url(studies):
            studies, login = split_login(studies)
        else:
            studies = str(Path(studies).resolve())
        workspace = Path(start.workspace or _default_workspace(studies)).expanduser().resolve()
        if not is_url(studies) and workspace.is_relative_to(studies):
            raise SettingsError(
                [
                    f"The workspace {workspace} lies inside the DICOM folder {studies}, which is never written to. "
                    "Choose another one with --conf workspace DIR."
                ]
            )
        return cls(
            studies=studies,
            workspace=workspace,
            model_dir=Path(start.model_dir or APP_DIR / "model").expanduser().resolve(),
            rescan_seconds=start.rescan_seconds,
            info=info.model_dump(),
            changed=(*changes(start, conf), *changes(info, conf)),
            login=login,
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

    @property
    def results_dir(self) -> Path:
        """Masks on their way to a client. Not in the system's temporary folder, which may be small, or memory."""
        return self.cache_dir / "results"

    @property
    def temporary_dir(self) -> Path:
        """What a request or command needs while it lasts. A server empties it when it starts."""
        return self.cache_dir / "temporary"


def is_url(studies: str) -> bool:
    """Tell a DICOMweb URL from a folder."""
    return studies.startswith(("http://", "https://"))


def _default_workspace(studies: str) -> Path:
    data_home = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    name = Path(studies.rstrip("/")).name or "studies"
    return data_home / "lunglabel" / f"{name}-{hashlib.sha256(studies.encode()).hexdigest()[:8]}"
