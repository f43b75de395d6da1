"""Arguments that several commands have, declared once so that they have the same names everywhere."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lib.cluster.workers import Workers
from lib.errors import UserError
from lib.exports.formats import MEANINGS, TABLE, ExportFormat, formats_named
from lib.settings import Settings, is_url


class _ByPosition(argparse.Action):
    """Store a value given by position, unless the option of the same meaning was given as well."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        if getattr(namespace, self.dest, None) is not None:
            parser.error(f"{self.dest.upper()} is given twice: {getattr(namespace, self.dest)} and {values}")
        setattr(namespace, self.dest, values)


def add_studies(parser: argparse.ArgumentParser, *, required: bool = True, more: str = "") -> None:
    """Declare ``STUDIES``, by position or as ``--studies``.

    Args:
        parser: Parser of the command.
        required: Whether one of them must be given.
        more: Addition to the help text.
    """
    parser.add_argument(
        "studies",
        nargs="?",
        metavar="STUDIES",
        default=argparse.SUPPRESS,
        action=_ByPosition,
        help=f"DICOM folder or DICOMweb URL, as the server is given{more}",
    )
    parser.add_argument("--studies", dest="studies", metavar="STUDIES", help="the same, as an option")
    parser.set_defaults(studies_required=required)


def add_formats(
    parser: argparse.ArgumentParser, default: Sequence[ExportFormat], left_out: Iterable[ExportFormat] = ()
) -> None:
    """Declare ``--format``, which takes the names of `ExportFormat`, former ones and ``table``.

    Args:
        parser: Parser of the command.
        default: Formats without the option.
        left_out: Formats that the command does not write by themselves.
    """
    known = [one for one in ExportFormat if one not in left_out]

    def parse(name: str) -> tuple[ExportFormat, ...]:
        try:
            formats = formats_named(name)
        except ValueError:
            formats = ()
        if not formats or not {*formats} <= {*known}:
            raise argparse.ArgumentTypeError(f"there is no format {name!r}; there is {', '.join(known)}, {TABLE}")
        return formats

    meanings = "; ".join(f"{one.value}: {MEANINGS[one]}" for one in known)
    parser.add_argument(
        "--format",
        nargs="+",
        type=parse,
        default=[tuple(default)],
        metavar="NAME",
        help=f"{meanings}; {TABLE}: csv and json (default: {' '.join(one.value for one in default)})",
    )


def formats_of(args: argparse.Namespace) -> tuple[ExportFormat, ...]:
    """Return the formats that ``--format`` names, each once."""
    return tuple(dict.fromkeys(one for named in args.format for one in named))


def settings_of_workspace(workspace: str) -> Settings:
    """Return the settings of a command that needs the workspace of a server only, not its studies."""
    return Settings.from_conf("http://localhost", {"workspace": str(Path(workspace).expanduser())})


def check_output(studies: str, output: Path) -> None:
    """Check the folder of the results of a command.

    Raises:
        UserError: The studies do not exist, or the folder is inside them.
    """
    if is_url(studies):
        return
    if not Path(studies).is_dir():
        raise UserError(f"{studies} is neither a folder nor a URL.")
    if output.resolve().is_relative_to(Path(studies).resolve()):
        raise UserError(f"{output} is inside the DICOM folder, which is never written to. Choose another.")


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Declare where a command computes: ``--workers``, ``--scheduler`` or ``--slurm``."""
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--workers", type=_count, default=0, metavar="N", help="N processes on this machine, by Dask")
    where.add_argument("--scheduler", metavar="ADDRESS", help="workers of a running Dask scheduler: tls://host:8786")
    where.add_argument("--slurm", type=Path, metavar="FILE", help="Slurm jobs as workers; see docs/slurm.md")


def workers_of(args: argparse.Namespace) -> Workers | None:
    """Return the workers that the options name; None to compute in this process."""
    workers = Workers(args.workers, args.scheduler, args.slurm)
    return None if workers == Workers() else workers


def _count(text: str) -> int:
    count = int(text)
    if not 1 <= count <= 256:
        raise argparse.ArgumentTypeError(f"must be 1 to 256, not {count}")
    return count
