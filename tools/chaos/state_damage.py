"""Damage to files of the workspace between a kill and the next start, as caused by a failing disk or an editor."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.datastore.label_store import LabelStore
from tools.support.damage import DAMAGES, damage, restore
from tools.support.sandbox import Sandbox

_MENDED = ("cache/index.sqlite", "image_info/*.json", "cache/scores/*/*/*/*.json", "cache/predictions/*/*.nrrd")
_NAMED = ("labels/*/[0-9]*.nii.gz", "labels/*/[0-9]*.json", "segs/*/*.dcm")


@dataclass(frozen=True)
class Damaged:
    """A damaged file.

    Attributes:
        path: Path of the file.
        kind: Kind of damage, a key of ``DAMAGES``.
        content: Content before the damage.
        is_label: Whether it is a label or its record, which is restored after the server has reported it.
    """

    path: Path
    kind: str
    content: bytes
    is_label: bool

    def put_back(self) -> None:
        """Restore the original content, as from a backup."""
        restore(self.path, self.content)


def damage_state(sandbox: Sandbox, rng: np.random.Generator) -> list[Damaged]:
    """Damage one file of each kind that exists; no server may be running."""
    done: list[Damaged] = []
    touched: set[Path] = set()
    for pattern in (*_MENDED, *_NAMED):
        files = [path for path in sorted(sandbox.workspace.glob(pattern)) if path.is_file() and path.stat().st_size > 1]
        if pattern.startswith("labels"):  # a label without a record was never accepted, so its damage is not reported
            files = [path for path in files if _record(path).is_file() and _record(path) not in touched]
        if not files:
            continue
        path = files[rng.integers(len(files))]
        is_label = pattern.startswith("labels")
        kinds = [kind for kind in DAMAGES if kind != "missing" or path.suffix == ".gz"]
        kind = str(rng.choice(kinds))
        done.append(Damaged(path, kind, path.read_bytes(), is_label))
        damage(path, kind)
        touched.add(_record(path))
    return done


def unreported_damage(sandbox: Sandbox, damaged: list[Damaged], reported: Collection[str]) -> Iterator[str]:
    """Yield the damaged labels that the server did not report.

    Args:
        sandbox: Folders of the server.
        damaged: Files damaged before its start.
        reported: Files that the server reports as damaged, for labels only those in use.
    """
    labels = LabelStore(sandbox.workspace / "labels")
    in_use, all_of_them = ({one.path for one in labels.damage(former=former)} for former in (False, True))
    yield from (f"{path} is damaged and the server does not name it" for path in in_use if str(path) not in reported)
    for one in damaged:
        if one.is_label and one.path not in all_of_them:
            yield f"{one.path} was damaged ({one.kind}) and nobody noticed"


def _record(path: Path) -> Path:
    """Return the path of the record of a label, given that of the record or of the voxels."""
    return path.with_name(f"{path.name.partition('.')[0]}.json")
