"""The commands of the command line."""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """A command of the command line.

    Attributes:
        module: Module with ``add_arguments`` and ``run``.
        summary: What it does, in one line for ``--help``.
        examples: Arguments of calls to show in its ``--help``.
    """

    module: str
    summary: str
    examples: tuple[str, ...] = ()


EVERYDAY = {
    "doctor": Command(
        "lib.cli.doctor",
        "check the installation, and list the contents of a folder or PACS",
        ("/data/dicom", "http://pacs:8042/dicom-web", "--verify --workspace DIR"),
    ),
    "import": Command(
        "lib.cli.import_cases",
        "import the labels of a data set: LIDC-IDRI, NSCLC-Radiomics, 4D-Lung, MSD, LUNA16, slices with masks",
        ("lidc-idri /data/LIDC-IDRI --dry-run", "msd /data/Task06_Lung --limit 10"),
    ),
    "export": Command(
        "lib.cli.export",
        "write the final labels as DICOM SEG, SR, RTSTRUCT or NIfTI, and tables of cases and lesions",
        ("/data/dicom --output OUT", "/data/dicom --output OUT --format seg sr rtstruct nifti csv json"),
    ),
    "infer": Command(
        "lib.cli.infer",
        "segment every series of a folder or PACS, and write the same formats as export",
        ("/data/dicom --output OUT", "/data/dicom --output OUT --format sr csv --conf false_findings_per_scan 0.5"),
    ),
    "labels": Command(
        "lib.cli.labels",
        "list all submitted labels; restore an earlier one",
        ("/data/dicom", "/data/dicom --image UID --restore 2"),
    ),
    "models": Command(
        "lib.cli.models",
        "list the versions of a model; choose the one in use",
        ("/data/dicom", "--workspace DIR --serve VERSION", "--workspace DIR --back"),
    ),
    "study": Command(
        "lib.cli.study",
        "check the file of a reader study, measure the agreement of its readers, or export it",
        (
            "check study.yaml",
            "agreement study.yaml --workspace DIR --output OUT",
            "export study.yaml --workspace DIR --output OUT",
        ),
    ),
    "users": Command(
        "lib.cli.users",
        "list, add, change and remove the users who may log in",
        ("--workspace DIR", "--workspace DIR add ada --role annotator", "--workspace DIR password ada"),
    ),
    "audit": Command(
        "lib.cli.audit",
        "check the log of who did what, and export it as CSV",
        ("--workspace DIR --output audit.csv",),
    ),
    "phantoms": Command("lib.cli.phantoms", "make a small set of chest CT phantoms as DICOM", ("/tmp/phantoms",)),
}

DEVELOPMENT = {
    "train": Command(
        "lib.cli.train",
        "train offline on images and masks",
        ("--images D/images --masks D/masks --output RUN --steps 3000",),
    ),
    "train-clicks": Command(
        "lib.cli.train_clicks",
        "train the model that outlines what a user clicks at, offline on images and masks",
        ("--images D/images --masks D/masks --output RUN",),
    ),
    "weights": Command(
        "lib.cli.weights",
        "train the shipped weights again, stage by stage, and install them",
        ("--data DATA --output workspace/weights",),
    ),
    "evaluate": Command(
        "lib.cli.evaluate",
        "measure weights on images with masks: metrics.json and report.html",
        (
            "--images D/images --masks D/masks --output OUT",
            "--images D/images --masks D/masks --output OUT --models old=a/model.pt new=b/model.pt --froc",
            "--images D/images --masks D/readers --output OUT --clicks 5",
        ),
    ),
    "compose": Command(
        "lib.cli.compose",
        "paste nodules into whole scans: volumes with known lesions for evaluation",
        ("--scans S/images --scan-masks S/masks --images D/images --masks D/masks --output OUT",),
    ),
    "ablation": Command(
        "lib.cli.ablation",
        "measure the contribution of each part of the method",
        ("--images D/images --masks D/masks --output OUT --seeds 3",),
    ),
    "simulate": Command(
        "lib.cli.simulate",
        "replay labelled data to compare strategies for choosing the next case",
        (
            "--images D/images --masks D/masks --output OUT",
            "--whole-scans --images S/images --masks S/masks --output OUT",
        ),
    ),
}
