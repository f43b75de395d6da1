"""``python main.py import``: import of downloaded public sets as labelled cases."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from lib.errors import UserError
from lib.public_sets.case import PublicSet
from lib.public_sets.import_target import ImportTarget
from lib.public_sets.importing import Tally, describe_outcome, import_cases
from lib.public_sets.luna16 import find_luna16
from lib.public_sets.msd import find_msd
from lib.public_sets.slices import Scale, find_dicom_slices, find_picture_slices

_MOST_HU = 32767
_KINDS = {
    "lidc-idri": "LIDC-IDRI: CT series and the XML files of the readings",
    "nsclc-radiomics": "NSCLC-Radiomics: CT series and RTSTRUCT",
    "4d-lung": "4D-Lung: CT series and RTSTRUCT",
    "rtstruct": "any other CT series with RTSTRUCT or SEG that refer to them",
    "msd": "Medical Segmentation Decathlon, Task06 Lung: the folder with dataset.json",
    "luna16": "LUNA16: the folder with subset0 … subset9 and annotations.csv",
    "slices": "axial slices as PNG, JPEG, TIFF or DICOM with masks as pictures, by patient",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("kind", choices=_KINDS, help="; ".join(f"{kind}: {what}" for kind, what in _KINDS.items()))
    parser.add_argument("source", type=Path, help="folder of the set as it was downloaded and unpacked; never changed")
    parser.add_argument("--workspace", help="folder of the workspace, as --conf workspace of the server")
    parser.add_argument("--dry-run", action="store_true", help="read headers, report what would happen, write nothing")
    parser.add_argument("--limit", type=_positive_int, metavar="N", help="only the first N cases")
    parser.add_argument("--roi", nargs="+", default=[], metavar="NAME", help="names of the tumour regions in the set")
    parser.add_argument(
        "--files",
        nargs="+",
        default=[],
        metavar="PATTERN",
        help="only SEG, RTSTRUCT and XML files whose path in the set matches, such as 'P1/*reader2*'",
    )
    parser.add_argument("--annotations", type=Path, metavar="DIR", help="folder of LIDC-IDRI's XML files, if elsewhere")
    parser.add_argument("--mask-value", type=int, metavar="N", help="slices: grey level of the tumour in the masks")
    pictures = parser.add_argument_group("slices stored as pictures, which contain neither spacing nor HU")
    pictures.add_argument("--studies", type=Path, help="new folder for the converted volumes, to be served")
    pictures.add_argument(
        "--pixel-spacing", nargs="+", type=_positive, metavar="MM", help="between rows and columns, one number or two"
    )
    pictures.add_argument("--slice-spacing", type=_positive, metavar="MM", help="distance between adjacent slices")
    pictures.add_argument(
        "--window", nargs=2, type=float, metavar=("CENTER", "WIDTH"), help="HU window, from black to white"
    )
    pictures.add_argument(
        "--first-slice", choices=("head", "feet"), default="head", help="end with the lowest number (default: head)"
    )


def run(args: argparse.Namespace) -> int:
    """Import the set; return 1 if any case failed."""
    source = args.source.resolve()
    if not source.is_dir():
        raise UserError(f"There is no folder {args.source}. Give the folder where the set was unpacked.")
    studies = (args.studies or source).resolve()
    _check_applicable(args)
    target = ImportTarget(studies, args.workspace, args.dry_run)
    found = _find_files(args, source, studies)
    with target:
        if found is None:
            target.scan(lambda done, files: print(f"looking at the images: {done} of {files} new files", flush=True))
            found = _find_dicom(args, source, target)
        for remark in found.remarks:
            print(remark)
        if args.limit is not None and len(found.cases) > args.limit:
            print(f"Only the first {args.limit} of {len(found.cases)} cases, as --limit says.")
            found = replace(found, cases=found.cases[: args.limit])
        tally = import_cases(found, target, lambda line: print(line, flush=True))
    _report(tally, found, studies, args)
    return 1 if tally.failures else 0


def _find_dicom(args: argparse.Namespace, source: Path, target: ImportTarget) -> PublicSet:
    if args.kind == "slices":
        return find_dicom_slices(source, target, args.mask_value)
    from lib.public_sets.dicom_sets import find_dicom_set  # its readers are of no use to the others

    annotations = args.annotations.resolve() if args.annotations else None
    if annotations and not annotations.is_dir():
        raise UserError(f"There is no folder {args.annotations}.")
    rules = target.settings.info["imports"]
    return find_dicom_set(args.kind, source, target, rules, args.roi, annotations, args.files)


def _check_applicable(args: argparse.Namespace) -> None:
    """Raise a UserError for options that have no effect on the kind of set, instead of ignoring them."""
    if args.studies and args.kind != "slices":
        raise UserError(f"--studies is for slices stored as pictures; a {args.kind} set is served from its own folder.")
    applies = {
        "--roi": (args.roi, args.kind not in ("luna16", "slices")),
        "--files": (args.files, args.kind not in ("msd", "luna16", "slices")),
        "--annotations": (args.annotations, args.kind == "lidc-idri"),
        "--mask-value": (args.mask_value is not None, args.kind == "slices"),
        "--pixel-spacing, --slice-spacing and --window": (
            args.pixel_spacing or args.slice_spacing or args.window,
            args.studies,
        ),
    }
    for option, (given, fits) in applies.items():
        if given and not fits:
            without = " without --studies" if args.kind == "slices" and option != "--roi" else ""
            raise UserError(f"{option} does not apply to {args.kind}{without}; remove it.")


def _find_files(args: argparse.Namespace, source: Path, studies: Path) -> PublicSet | None:
    """Find the cases of a set that needs no index; return None for a set of DICOM files."""
    if args.kind == "msd":
        return find_msd(source, args.roi)
    if args.kind == "luna16":
        return find_luna16(source)
    if args.studies:
        return find_picture_slices(source, studies, _scale(args), args.mask_value)
    return None


def _scale(args: argparse.Namespace) -> Scale:
    """Return the scale of pictures from the options, all of which are required."""
    needed = ("pixel_spacing", "slice_spacing", "window")
    missing = [f"--{name.replace('_', '-')}" for name in needed if getattr(args, name) is None]
    if missing:
        raise UserError(
            f"Pictures contain neither spacing nor HU; {' and '.join(missing)} must be given. See the description of "
            "the set or its original DICOM files; a window of -600 1500 is usual for lungs."
        )
    if len(args.pixel_spacing) > 2:
        raise UserError(f"--pixel-spacing takes one number or two, not {len(args.pixel_spacing)}.")
    center, width = args.window
    if not (width > 0 and center - width / 2 >= -_MOST_HU and center + width / 2 <= _MOST_HU):
        raise UserError(
            f"The WIDTH of --window must be above 0, and the window within -{_MOST_HU} to {_MOST_HU} HU, not "
            f"{center:g} {width:g}."
        )
    rows, columns = args.pixel_spacing[0], args.pixel_spacing[-1]
    return Scale((rows, columns), args.slice_spacing, (args.window[0], args.window[1]), args.first_slice)


def _report(tally: Tally, found: PublicSet, studies: Path, args: argparse.Namespace) -> None:
    counts = [f"{count} {describe_outcome(outcome, args.dry_run)}" for outcome, count in tally.counts.items() if count]
    print(f"{found.title}: {'; '.join([*counts, f'{len(tally.failures)} failed'])}.")
    for name, reason in tally.failures:
        print(f"  failed  {name}: {reason}")
    if args.dry_run:
        print("Nothing was written.")
    elif tally.counts:
        conf = f' CONF="--conf workspace {Path(args.workspace).resolve()}"' if args.workspace else ""
        print(f"Serve and train on them: make run STUDIES={studies}{conf}")


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
    return number


def _positive_int(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, not {text}")
    return number
