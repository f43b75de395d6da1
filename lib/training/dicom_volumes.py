"""Volumes of DICOM series for training and evaluation, read as the server reads them."""

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
    """A DICOM series as one file.

    Attributes:
        path: NRRD, HU.
        patient: Its PatientID; empty where it has none.
        unmarked: Slices not to be used as free of tumour.
    """

    path: Path
    patient: str
    unmarked: frozenset[int]


def dicom_volume(folder: Path, cache: Path) -> DicomVolume:
    """Write the largest usable CT series below a folder as a volume, once for its files as they are.

    Slices are not to be used as free of tumour where the folder beside it, ``Annotation``, has a file named by the
    SOP Instance UID (as Lung-PET-CT-Dx does), nor are their neighbours.

    Args:
        folder: Read only.
        cache: Where the volume is kept, apart from those of other folders.

    Raises:
        UserError: There is no usable series, with the reasons.
    """
    folder = folder.resolve()
    place = cache / hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    client = FolderClient(folder, place / "segs", place / "index.sqlite")
    client.scan()
    series = _largest(client, folder)
    files = client.index.instances(series.uid)
    version = hashlib.sha256("\n".join(sorted(f"{file.sop_uid} {file.version}" for file in files)).encode())
    path = place / f"{series.uid}-{version.hexdigest()[:16]}.nrrd"
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
            f"{folder} holds neither volumes (.nii, .nii.gz, .nrrd) nor a DICOM series that can be used ({reasons})."
        )
    if len(usable) > 1:
        logger.warning("%s holds %d usable series; the largest is taken, %s.", folder, len(usable), usable[0].uid)
    return usable[0]


def _around(marked: set[str], files: list[IndexedFile]) -> frozenset[int]:
    """Slices of the volume whose image is one of those marked, and their neighbours."""
    headers = [file.attributes for file in files]
    if not marked or is_multi_frame(headers):
        return frozenset()
    uids = [files[place].sop_uid for place in slice_stack(headers).order]
    return frozenset(z + step for z, uid in enumerate(uids) if uid in marked for step in (-1, 0, 1))
