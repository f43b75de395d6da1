"""Settings of one run of the app from ``info.yaml`` and ``--conf``, and the folders derived from them."""

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
    """Validated settings and paths of one run.

    Attributes:
        studies: DICOM folder (absolute path) or DICOMweb URL, without user and password.
        workspace: Folder for labels, DICOM SEG and cache; never inside the user's DICOM folder.
        model_dir: Folder of the initial weights, ``pretrained_lung_tumor.pt``; read-only.
        study_file: File of the reader study that the server serves; None without one.
        rescan_seconds: Interval between two scans for new series, seconds.
        info: ``info.yaml`` with the changes of ``--conf`` applied to its ``config``.
        changed: Differences from the defaults: ``name``, ``value``, ``default``, ``meaning`` and ``source`` of each.
        login: User and password of the URL; None if it has none.
        scheduler: Address of the Dask scheduler for background work; None to do all of it in the server.
    """

    studies: str
    workspace: Path
    model_dir: Path
    rescan_seconds: float
    info: dict[str, Any]
    changed: tuple[dict[str, Any], ...] = ()
    login: Login | None = field(default=None, repr=False)
    study_file: Path | None = None
    scheduler: str | None = None

    @classmethod
    def from_conf(cls, studies: str, conf: Mapping[str, str] | None = None) -> Settings:
        """Parse the arguments of ``monailabel start_server``.

        Args:
            studies: Value of ``--studies``.
            conf: The pairs of ``--conf NAME VALUE``; all values are strings.

        Raises:
            SettingsError: Names or values of ``info.yaml`` or ``--conf`` are invalid, or the workspace is inside the
                DICOM folder.
            UserError: ``studies`` is an invalid URL.
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
                    f"The workspace {workspace} is inside the DICOM folder {studies}, which is never written to. "
                    "Choose another workspace with --conf workspace DIR."
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
            study_file=Path(start.study).expanduser().resolve() if start.study else None,
            scheduler=start.scheduler,
        )

    @property
    def labels_dir(self) -> Path:
        """Every label ever submitted; must be backed up."""
        return self.workspace / "labels"

    @property
    def models_dir(self) -> Path:
        """Every model version, the choice of the one in use, and its history; must be backed up."""
        return self.workspace / "models"

    @property
    def segs_dir(self) -> Path:
        """DICOM objects written by this app or stored by a viewer; must be backed up."""
        return self.workspace / "segs"

    @property
    def users_file(self) -> Path:
        """Local accounts with hashes of their passwords; must be backed up."""
        return self.workspace / "users.json"

    @property
    def audit_file(self) -> Path:
        """Log of who did what; must be backed up."""
        return self.workspace / "audit.jsonl"

    @property
    def cache_dir(self) -> Path:
        """Index, volumes and uploads; can be deleted at any time."""
        return self.workspace / "cache"

    @property
    def results_dir(self) -> Path:
        """Masks to be sent to clients. The system's temporary folder may be too small, or in memory."""
        return self.cache_dir / "results"

    @property
    def registrations_dir(self) -> Path:
        """Registrations of series to those of other studies."""
        return self.cache_dir / "registrations"

    @property
    def temporary_dir(self) -> Path:
        """Temporary files of requests and commands; a server empties it when it starts."""
        return self.cache_dir / "temporary"


def is_url(studies: str) -> bool:
    """Return whether ``studies`` is a DICOMweb URL rather than a folder."""
    return studies.startswith(("http://", "https://"))


def _default_workspace(studies: str) -> Path:
    data_home = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    name = Path(studies.rstrip("/")).name or "studies"
    return data_home / "lunglabel" / f"{name}-{hashlib.sha256(studies.encode()).hexdigest()[:8]}"
