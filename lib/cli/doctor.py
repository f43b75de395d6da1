"""``python main.py doctor [STUDIES]``: diagnosis of the installation. Imports nothing that may be broken."""

from __future__ import annotations

import argparse
import importlib
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from lib.dicomweb.login import split_login
from lib.errors import UserError
from lib.settings import APP_DIR, is_url

if TYPE_CHECKING:
    from lib.datastore.catalog import SeriesCatalog

_EXAMPLES = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("studies", nargs="?", help="DICOM folder or DICOMweb URL to check as well")
    parser.add_argument(
        "--verify",
        action="store_true",
        help="compare every label, DICOM SEG and model version of the workspace with its checksum, and do nothing else",
    )
    parser.add_argument("--workspace", help="as --conf workspace of the server; that of STUDIES if not given")


def run(args: argparse.Namespace) -> int:
    """Print the results of all checks; return 0 if there are no problems."""
    if args.verify:
        return _verify(args.studies, args.workspace)
    checks = (_python(), _packages(), _compiler(), _crf(), _gpu(), _weights())
    wrong = [problem for problem in checks if problem]
    if args.studies:
        wrong += _studies(args.studies)
    print("\nNo problems found." if not wrong else "\nProblems:\n" + "\n".join(f"  - {line}" for line in wrong))
    return 1 if wrong else 0


def _verify(studies: str | None, workspace: str | None) -> int:
    """Print the damaged files of a workspace; return 1 if there are any."""
    from lib.settings import Settings
    from lib.verification import find_damage  # it needs packages that may be missing

    if not studies and not workspace:
        raise UserError("No workspace given: give STUDIES as for the server, or --workspace DIR.")
    studies = studies or str(Path(str(workspace)).resolve() / "no-studies")
    settings = Settings.from_conf(studies, {"workspace": workspace} if workspace else {})
    if not settings.workspace.is_dir():
        raise UserError(f"There is no workspace {settings.workspace}.")
    print(f"{settings.workspace}")
    damaged = find_damage(settings)
    for damage in damaged:
        print(f"  {damage.kind}: {damage.problem}")
    print(f"\n{len(damaged)} damaged." if damaged else "\nAll files match their checksums.")
    return 1 if damaged else 0


def _print_check(what: str, state: str) -> None:
    print(f"{what + ':':<14}{state}")


def _python() -> str | None:
    version = ".".join(map(str, sys.version_info[:3]))
    _print_check("Python", version)
    if not (3, 10) <= sys.version_info[:2] < (3, 13):
        return f"Python {version} is not supported; 3.10, 3.11 or 3.12 is needed: make PYTHON=python3.12 install"
    return None


def _packages() -> str | None:
    """Compare the installed packages with requirements.txt."""
    try:
        pins = _pins()
    except ImportError as error:
        return f"packages: {error.name} is missing. Run `make install`"
    wrong = []
    for name, version in pins.items():
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{name} is missing")
            continue
        if found.split("+")[0] != version:
            wrong.append(f"{name} is {found}, not {version}")
    _print_check("Packages", f"{len(pins) - len(wrong)} of {len(pins)} as pinned in requirements.txt")
    return f"packages: {'; '.join(wrong)}. Run `make install`" if wrong else None


def _pins() -> dict[str, str]:
    """Return the version of each package that requirements.txt pins for this Python and platform."""
    from packaging.requirements import Requirement  # may be missing

    lines = (APP_DIR / "requirements.txt").read_text(encoding="utf-8").splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    applicable = (one for one in requirements if not one.marker or one.marker.evaluate())
    return {one.name: str(one.specifier).removeprefix("==") for one in applicable}


def _compiler() -> str | None:
    compiler = shutil.which("c++") or shutil.which("g++")
    _print_check("Compiler", compiler or "none (needed once, to build pydensecrf)")
    return None


def _crf() -> str | None:
    try:
        importlib.import_module("pydensecrf.densecrf")
    except ImportError as error:
        _print_check("pydensecrf", "does not import")
        return f"pydensecrf does not import ({error}). It needs a C++ compiler: apt-get install g++, then make install"
    _print_check("pydensecrf", "imports")
    return None


def _gpu() -> str | None:
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        _print_check("PyTorch", "does not import")
        return f"PyTorch does not import ({error}). Run `make install`"
    if torch.cuda.is_available():
        _print_check("GPU", f"{torch.cuda.get_device_name(0)}, PyTorch {torch.__version__}")
        return None
    if torch.version.cuda is None:
        reason = f"PyTorch {torch.__version__} is a CPU build"
    elif not shutil.which("nvidia-smi"):
        reason = "no NVIDIA driver (nvidia-smi was not found)"
    else:
        answer = subprocess.run(["nvidia-smi"], capture_output=True, text=True, check=False)
        reason = "the driver does not respond: " + (answer.stderr or answer.stdout).strip().splitlines()[0]
    _print_check("GPU", f"none, the CPU is used: {reason}")
    return None


def _weights() -> str | None:
    weights = APP_DIR / "model" / "pretrained_lung_tumor.pt"
    _print_check("Weights", f"{weights.stat().st_size / 1e6:.1f} MB shipped" if weights.exists() else "none shipped")
    return None


def _studies(studies: str) -> list[str]:
    """List the usable series of a folder or PACS, and why the others are not usable."""
    from lib.datastore.catalog import SeriesCatalog  # these need the packages that were just checked
    from lib.dicomweb.folder_client import FolderClient
    from lib.dicomweb.folder_index import UNREADABLE

    if not is_url(studies) and not Path(studies).is_dir():
        raise UserError(f"{studies} is neither a folder nor a URL.")
    studies, login = split_login(studies) if is_url(studies) else (studies, None)
    print(f"\n{studies}")
    with tempfile.TemporaryDirectory() as scratch:
        if is_url(studies):
            from lib.dicomweb.pacs_client import pacs_client

            catalog, problems, left_out = SeriesCatalog(pacs_client(studies, login)), [], {}
        else:
            client = FolderClient(Path(studies), Path(scratch) / "segs", Path(scratch) / "index.sqlite")
            client.scan(lambda done, total: print(f"\r  read {done} of {total} files", end="", flush=True))
            print()
            catalog, problems, left_out = SeriesCatalog(client), client.index.problems(), client.left_out()
        try:
            catalog.refresh()
        except Exception as error:  # any failure of the network or the PACS
            return [f"{studies} does not respond as DICOMweb: {error}"]
        _preview_initial_labels(catalog)
    for series in sorted(catalog.all(), key=lambda s: (s.problem is not None, s.value("PatientID"))):
        about = " ".join(filter(None, (series.value("StudyDate"), series.value("SeriesDescription"))))
        without = f" (and {len(left_out[series.uid])} left out)" if series.uid in left_out else ""
        print(
            f"  {'usable ' if series.problem is None else 'left out'}  {series.value('PatientID') or '(no id)'}"
            f"  {series.instance_count} × {series.value('Modality')}{without}  {about}  {series.uid}"
        )
        for line in (series.problem,) if series.problem else (*series.warnings, *series.notes):
            print(f"            {line}")
    _print_problems(problems)
    usable = [series for series in catalog.all() if series.problem is None]
    warned = sum(bool(series.warnings) for series in usable)
    print(
        f"  {len(usable)} usable CT series ({warned} with a warning), {len(catalog.all()) - len(usable)} left out, "
        f"{len(problems)} other files"
    )
    wrong = [f"series {uid}: {problem}" for uid, problem in catalog.ambiguous().items()]
    if unreadable := [path for path, reason in problems if reason.startswith(UNREADABLE)]:
        wrong.append(f"{len(unreadable)} files or folders cannot be read: {_summarized(unreadable)}")
    return wrong if usable else [*wrong, f"{studies} has no CT series that can be used"]


def _preview_initial_labels(catalog: SeriesCatalog) -> None:
    """Note with each series the outcome of importing its DICOM SEG, RTSTRUCT and LIDC-IDRI annotations."""
    from lib.initial_labels.annotation_labels import read_annotations
    from lib.initial_labels.candidates import AMBIGUOUS, describe
    from lib.settings import load_info

    marks: dict[str, dict[str, list[dict]]] = {}  # by image and checksum of the mask: info of each object
    try:
        for result in read_annotations(catalog.client, catalog, load_info()["imports"]):
            for image_id in result.image_ids:
                if result.problem:
                    catalog.note(image_id, result.problem)
                else:
                    marks.setdefault(image_id, {}).setdefault(result.checksum, []).append(result.info)
            if result.problem and not result.image_ids:
                print(f"  {result.problem}")
        for image_id, masks in marks.items():
            objects = [info for infos in masks.values() for info in infos]
            if len(masks) == 1:
                catalog.note(image_id, f"initial label {objects[0]['note']}")
                continue
            catalog.note(image_id, AMBIGUOUS)
            for info in objects:
                catalog.note(image_id, f"  {describe(info)}")
    except Exception as error:  # a PACS that cannot search by modality
        print(f"  DICOM SEG and RTSTRUCT could not be listed: {error}")


def _print_problems(problems: list[tuple[Path, str]]) -> None:
    for reason, count in Counter(reason for _, reason in problems).most_common():
        paths = [path for path, found in problems if found == reason]
        print(f"  {count} file(s): {reason}\n            {_summarized(paths)}")


def _summarized(paths: list[Path]) -> str:
    names = ", ".join(str(path) for path in paths[:_EXAMPLES])
    return names + (f" and {len(paths) - _EXAMPLES} more" if len(paths) > _EXAMPLES else "")
