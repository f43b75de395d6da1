"""One DICOM series of a folder as a volume, for commands that take folders instead of a server's studies."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

from lib.datastore.catalog import Series, SeriesCatalog
from lib.datastore.opening import open_datastore
from lib.dicomweb.folder_client import FolderClient
from lib.dicomweb.frames import is_multi_frame
from lib.errors import UserError
from lib.geometry.slice_stack import SliceStack
from lib.settings import Settings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SeriesVolume:
    """The volume of a DICOM series.

    Attributes:
        path: NRRD file, HU.
        patient_id: PatientID of the series; empty if it has none.
        sop_uids: SOP Instance UID of each slice of the volume; empty for enhanced multi-frame CT.
        files: DICOM files of the series.
    """

    path: Path
    patient_id: str
    sop_uids: tuple[str, ...]
    files: tuple[Path, ...]


def largest_series_volume(folder: Path, cache: Path) -> SeriesVolume:
    """Return the volume of the largest usable CT series below a folder, created with the server's own code.

    The volume is cached, and created again when the files change.

    Args:
        folder: Folder of DICOM files, with any depth; read-only.
        cache: Folder for indexes and volumes, with a subfolder for each DICOM folder.

    Raises:
        UserError: There is no usable series (the message has the reasons), or the cache is inside the DICOM folder.
    """
    folder = folder.resolve()
    workspace = cache.resolve() / hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    if workspace.is_relative_to(folder):
        raise UserError(f"{cache} is inside the DICOM folder {folder}, which is never written to. Choose another.")
    datastore = open_datastore(Settings.from_conf(str(folder), {"workspace": str(workspace)}))
    client = datastore.client
    assert isinstance(client, FolderClient)
    client.scan()
    datastore.refresh()
    series = _largest(datastore.catalog, folder)
    try:
        path = Path(datastore.get_image_uri(series.uid))
    except UserError as error:
        raise UserError(f"{folder}: {error}") from error
    files = tuple(instance.path for instance in client.index.instances(series.uid))
    return SeriesVolume(path, series.value("PatientID"), _sop_uids(client, series), files)


def _largest(catalog: SeriesCatalog, folder: Path) -> Series:
    """Return the usable series with the most instances."""
    every = [series for series in catalog.all() if not series.file]
    usable = [series for series in every if series.problem is None]
    usable.sort(key=lambda series: (-series.instance_count, series.uid))
    if not usable:
        reasons = "; ".join(sorted({f"{one.uid}: {one.problem}" for one in every})) or "there is none"
        raise UserError(
            f"{folder} contains neither volumes (.nii, .nii.gz, .nrrd) nor a DICOM series that can be used ({reasons})."
        )
    if len(usable) > 1:
        logger.warning("%s contains %d usable series; using the largest, %s.", folder, len(usable), usable[0].uid)
    return usable[0]


def _sop_uids(client: FolderClient, series: Series) -> tuple[str, ...]:
    """Return the SOP Instance UIDs of single-frame slices in the order of the volume."""
    instances = client.index.instances(series.uid)
    headers = [instance.attributes for instance in instances]
    if is_multi_frame(headers):
        return ()
    return tuple(instances[index].sop_uid for index in SliceStack.from_headers(headers).order)
