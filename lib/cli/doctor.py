"""``python main.py doctor [STUDIES]``: diagnosis of the installation. Imports nothing that may be broken."""

from __future__ import annotations

import argparse
import importlib
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from lib.cli.arguments import add_studies
from lib.errors import UserError
from lib.settings import APP_DIR


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_studies(parser, required=False, more=", to check as well")
    parser.add_argument(
        "--verify",
        action="store_true",
        help="compare every label, DICOM SEG and model version of the workspace with its checksum, and do nothing else",
    )
    parser.add_argument("--workspace", help="folder of the workspace (default: that of STUDIES)")


def run(args: argparse.Namespace) -> int:
    """Print the results of all checks; return 0 if there are no problems."""
    if args.verify:
        return _verify(args.studies, args.workspace)
    checks = (_python(), _packages(), _compiler(), _crf(), _gpu(), _weights())
    wrong = [problem for problem in checks if problem]
    found = ""
    if args.studies:
        from lib.cli.doctor_studies import check_studies  # it needs the packages that were just checked

        report = check_studies(args.studies)
        wrong += report.problems
        found = report.summary
    print("\n" + _conclusion(wrong, found))
    return 1 if wrong else 0


def _conclusion(wrong: list[str], found: str) -> str:
    """Return the last words: problems, and what the studies have."""
    if wrong:
        return "\n".join(filter(None, (found and f"{found}.", "Problems:", *(f"  - {line}" for line in wrong))))
    return f"{found}. The installation has no problems." if found else "The installation has no problems."


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
