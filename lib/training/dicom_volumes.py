"""Volumes of DICOM series for training and evaluation, read in the same way as by the server."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

from lib.datastore.catalog import Series, SeriesCatalog
from lib.datastore.frames import is_multi_frame
from lib.datastore.volume import read_volume, write_volume
from lib.dicomweb.dicom_file import NotUsableError
from lib.dicomweb.folder_client import FolderClient
from lib.dicomweb.folder_index import IndexedFile
from lib.errors import UserError
from lib.geometry.slice_stack import slice_stack

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DicomVolume:
    """A DICOM series written as one file.

    Attributes:
        path: NRRD file, HU.
        patient: PatientID; empty if the series has none.
        unmarked: Slices that may contain unlabelled tumour and must not be used as free of tumour.
    """

    path: Path
    patient: str
    unmarked: frozenset[int]


def dicom_volume(folder: Path, cache: Path) -> DicomVolume:
    """Write the largest usable CT series below a folder as a volume, cached until its files change.

    A slice and its neighbours may contain unlabelled tumour if the sibling folder ``Annotation`` has a file named by
    its SOP Instance UID (as in Lung-PET-CT-Dx).

    Args:
        folder: Folder of the series; never written to.
        cache: Folder for the volumes of all series.

    Raises:
        UserError: There is no usable series; the message has the reasons.
    """
    folder = folder.resolve()
    subfolder = cache / hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    client = FolderClient(folder, subfolder / "segs", subfolder / "index.sqlite")
    client.scan()
    series = _largest(client, folder)
    files = client.index.instances(series.uid)
    version = hashlib.sha256("\n".join(sorted(f"{file.sop_uid} {file.version}" for file in files)).encode())
    path = subfolder / f"{series.uid}-{version.hexdigest()[:16]}.nrrd"
    if not path.exists():
        try:
            write_volume(read_volume([file.path for file in files]), path)
        except (ValueError, RuntimeError, NotUsableError) as error:
            raise UserError(f"Series {series.uid} of {folder} cannot be read as a volume: {error}.") from error
    marked = {xml.stem for xml in (folder.parent / "Annotation").glob("*.xml")}
    return DicomVolume(path, series.value("PatientID"), _around(marked, files))


def _largest(client: FolderClient, folder: Path) -> Series:
    catalog = SeriesCatalog(client)
    catalog.refresh()
    every = [series for series in catalog.all() if not series.file]
    usable = [series for series in every if series.problem is None]
    usable.sort(key=lambda series: (-series.instance_count, series.uid))
    if not usable:
        reasons = "; ".join(sorted({f"{one.uid}: {one.problem}" for one in every})) or "there is none"
        raise UserError(
            f"{folder} contains neither volumes (.nii, .nii.gz, .nrrd) nor a usable DICOM series ({reasons})."
        )
    if len(usable) > 1:
        logger.warning("%s contains %d usable series; using the largest, %s.", folder, len(usable), usable[0].uid)
    return usable[0]


def _around(marked: set[str], files: list[IndexedFile]) -> frozenset[int]:
    """Return the indices of the slices whose image is marked, and of their neighbours."""
    headers = [file.attributes for file in files]
    if not marked or is_multi_frame(headers):
        return frozenset()
    uids = [files[index].sop_uid for index in slice_stack(headers).order]
    return frozenset(z + step for z, uid in enumerate(uids) if uid in marked for step in (-1, 0, 1))
