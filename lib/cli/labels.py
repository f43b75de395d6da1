"""``python main.py labels``: list the labels of the workspace, and restore a former one."""

from __future__ import annotations

import argparse
import time
from typing import Any

from lib.cli.arguments import add_studies
from lib.datastore.label_info import author_of, changes_of, model_version_of
from lib.datastore.label_record import INITIAL, LabelRecord
from lib.datastore.label_review import latest_review, without_reviews
from lib.datastore.label_store import LabelStore
from lib.errors import UserError
from lib.initial_labels.candidates import CANDIDATE
from lib.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_studies(parser)
    parser.add_argument("--workspace", help="folder of the workspace, as --conf workspace of the server")
    parser.add_argument("--image", help="only this SeriesInstanceUID")
    parser.add_argument("--restore", type=int, metavar="NUMBER", help="submit this earlier label of --image again")


def run(args: argparse.Namespace) -> int:
    """List the labels, or restore one; return 1 if a label in use is damaged."""
    settings = Settings.from_conf(args.studies, {"workspace": args.workspace} if args.workspace else {})
    if not settings.labels_dir.is_dir():
        raise UserError(f"There are no labels in {settings.workspace}.")
    store = LabelStore(settings.labels_dir)
    if args.restore is not None:
        _restore(store, args.image, args.restore)
    damaged = False
    for image_id in [args.image] if args.image else store.images():
        in_use, problems = store.in_use(image_id), store.damage(image_id)
        if not (args.image or in_use or problems):
            continue
        print(image_id)
        for record in store.history(image_id):
            print(_line(record, in_use=in_use.get(record.tag) == record))
        for damage in problems:
            print(f"   DAMAGED: {damage.problem}")
        damaged |= bool(store.damage(image_id, former=False))
    return 1 if damaged else 0


def _restore(store: LabelStore, image_id: str | None, number: int) -> None:
    former = next((record for record in store.history(image_id or "-") if record.number == number), None)
    if image_id is None or former is None or not former.sha256:
        raise UserError(f"Image {image_id} has no label number {number}; name the image with --image UID.")
    content = store.content(former)
    tag = INITIAL if former.tag == CANDIDATE else former.tag  # the user chooses among the candidates
    store.save(
        image_id, tag, lambda part: part.write_bytes(content), {**without_reviews(former.info), "restored": number}
    )


def _line(record: LabelRecord, in_use: bool) -> str:
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.time))
    if not record.sha256:
        return f"   {record.number:>4}  {when}  {record.tag:<10} withdrawn"
    info = record.info
    who = author_of(info) or ""
    notes = [f"{info.get('voxels', '?')} voxels", _origin(info), str(info.get("viewer", "")), str(info.get("note", ""))]
    if "error" in record.dicom_seg:
        notes.append(f"no DICOM SEG yet: {record.dicom_seg['error']}")
    if "restored" in info:
        notes.append(f"restored from {info['restored']}")
    if review := latest_review(record):
        notes.append(f"{review.verdict} by {review.by}")
    mark = "*" if in_use else " "
    return f" {mark} {record.number:>4}  {when}  {record.tag:<10} {who:<16} {', '.join(filter(None, notes))}"


def _origin(info: dict[str, Any]) -> str:
    """Return the model version that the label is based on, and the number of changed voxels."""
    version, changes = model_version_of(info), changes_of(info)
    if not version:
        return "no prediction known"
    if not changes:
        return f"from {version}, its prediction is not known"
    return f"+{changes.added} -{changes.removed} against {version}"
