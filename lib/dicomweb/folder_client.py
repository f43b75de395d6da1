"""Client for a folder of DICOM files with the interface of ``dicomweb_client``.

``dicomweb_client.DICOMfileClient`` was evaluated in version 0.59.3 and rejected: its connection works in one thread
only, each update reads every file again, it cannot return implicit little endian, RLE or big endian instances, ignores
date ranges, and merges instances without a UID.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from pydicom import Dataset
from pydicom.uid import UID

from lib.dicomweb.dicom_file import NotUsableError, read_dicom, read_frames, read_metadata
from lib.dicomweb.folder_index import FolderChanges, FolderIndex, IndexedFile
from lib.dicomweb.folder_store import FolderStore
from lib.dicomweb.folder_walk import read_failure
from lib.dicomweb.image_file import ImageFile
from lib.dicomweb.matching import first_value, matches, tag_of, values_of
from lib.dicomweb.shared_uids import shared_uids
from lib.dicomweb.stored_objects import StoredObjects
from lib.dicomweb.studies import STUDY_TAGS, add_count, studies_of
from lib.errors import UserError
from lib.storage.atomic import make_folder

logger = logging.getLogger(__name__)

_DicomJson = dict[str, dict[str, Any]]
_Read = TypeVar("_Read")
_CACHED_INSTANCES = 4096


class FolderClient:
    """QIDO-RS, WADO-RS and STOW-RS over a folder.

    Args:
        studies: The user's DICOM folder; read-only.
        store_dir: Folder that STOW-RS writes to; queries cover both folders.
        database: File of the index.
    """

    def __init__(self, studies: Path, store_dir: Path, database: Path) -> None:
        self.base_url = Path(studies).resolve().as_uri()
        make_folder(store_dir)
        self.objects = StoredObjects(store_dir)
        self.index = FolderIndex(database, [studies, store_dir])
        self._store = FolderStore(self.index, self.objects, self.base_url)

    @property
    def root(self) -> Path:
        """The user's DICOM folder."""
        return self.index.roots[0]

    def scan(self, progress: Callable[[int, int], None] | None = None) -> FolderChanges:
        """Update the index with the changes in the folder since the last scan."""
        return self.index.scan(progress)

    def search_for_studies(
        self,
        fuzzymatching: bool | None = None,
        limit: int | None = None,
        offset: int | None = None,
        fields: Sequence[str] | None = None,
        search_filters: Mapping[str, Any] | None = None,
    ) -> list[_DicomJson]:
        """Search for studies (QIDO-RS); return the DICOM JSON of each, newest first."""
        studies = studies_of(self.index.series())
        filters = _searchable(search_filters, (*STUDY_TAGS, "00080061"))
        found = [study for study in studies if matches(study, filters, fuzzy=bool(fuzzymatching))]
        found.sort(key=lambda study: values_of(study, "00080020"), reverse=True)
        return _page(found, limit, offset)

    def search_for_series(
        self,
        study_instance_uid: str | None = None,
        fuzzymatching: bool | None = None,
        limit: int | None = None,
        offset: int | None = None,
        fields: Sequence[str] | None = None,
        search_filters: Mapping[str, Any] | None = None,
    ) -> list[_DicomJson]:
        """Search for series (QIDO-RS) in one study or in all."""
        found = []
        for header, count in self.index.series(study_instance_uid):
            add_count(header, "00201209", count)
            if matches(header, _searchable(search_filters, tuple(header)), fuzzy=bool(fuzzymatching)):
                found.append(header)
        return _page(found, limit, offset)

    def search_for_instances(
        self,
        study_instance_uid: str | None = None,
        series_instance_uid: str | None = None,
        fuzzymatching: bool | None = None,
        limit: int | None = None,
        offset: int | None = None,
        fields: Sequence[str] | None = None,
        search_filters: Mapping[str, Any] | None = None,
    ) -> list[_DicomJson]:
        """Search for instances (QIDO-RS) in one series, in one study or in all."""
        found = []
        for header, count in self.index.series(study_instance_uid, series_instance_uid):
            add_count(header, "00201209", count)
            study, series = first_value(header, "StudyInstanceUID"), first_value(header, "SeriesInstanceUID")
            patient_id = first_value(header, "PatientID").strip()
            for file in self._series_files(study, series):
                if file.patient_id != patient_id:
                    continue
                instance = {**header, **file.attributes}
                if matches(instance, _searchable(search_filters, tuple(instance))):
                    found.append(instance)
        return _page(found, limit, offset)

    def retrieve_study_metadata(self, study_instance_uid: str) -> list[_DicomJson]:
        """Return the WADO-RS metadata of every instance of a study."""
        found, failed = [], None
        for header in self.search_for_series(study_instance_uid):
            try:
                found += self.retrieve_series_metadata(study_instance_uid, values_of(header, "0020000E")[0])
            except (NotUsableError, UserError) as error:  # one damaged series must not hide the others
                logger.warning("A series is omitted from the metadata of study %s: %s", study_instance_uid, error)
                failed = error
        if failed and not found:
            raise failed
        return found

    def retrieve_series_metadata(self, study_instance_uid: str, series_instance_uid: str) -> list[_DicomJson]:
        """Return the WADO-RS metadata of every instance of a series; an empty list if its patient is ambiguous."""
        if series_instance_uid in self._hidden(study_instance_uid):
            return []
        return [self._read(_metadata, file) for file in self._series_files(study_instance_uid, series_instance_uid)]

    def left_out(self) -> dict[str, list[tuple[Path, str]]]:
        """Return the files that are left out of each series, by SeriesInstanceUID, with the reason."""
        return self.index.left_out()

    def retrieve_instance_metadata(
        self, study_instance_uid: str, series_instance_uid: str, sop_instance_uid: str
    ) -> _DicomJson:
        """Return the WADO-RS metadata of an instance.

        Raises:
            LookupError: There is no such instance.
        """
        return self._read(_metadata, self._file(study_instance_uid, series_instance_uid, sop_instance_uid))

    def retrieve_series(self, study_instance_uid: str, series_instance_uid: str) -> list[Dataset]:
        """Return the instances of a series with pixel data (WADO-RS)."""
        return [self._read(_instance, file) for file in self._series_files(study_instance_uid, series_instance_uid)]

    def retrieve_instance(self, study_instance_uid: str, series_instance_uid: str, sop_instance_uid: str) -> Dataset:
        """Return an instance with pixel data (WADO-RS).

        Raises:
            LookupError: There is no such instance.
        """
        return self._read(_instance, self._file(study_instance_uid, series_instance_uid, sop_instance_uid))

    def retrieve_frames(
        self,
        study_instance_uid: str,
        series_instance_uid: str,
        sop_instance_uid: str,
        frame_numbers: list[int],
    ) -> tuple[UID, list[bytes]]:
        """Return the transfer syntax UID and the stored bytes of frames (WADO-RS).

        Raises:
            LookupError: There is no such instance or frame.
        """
        file = self._file(study_instance_uid, series_instance_uid, sop_instance_uid)
        return self._read(lambda one: read_frames(one.path, frame_numbers), file)

    def series_paths(self, study_instance_uid: str, series_instance_uid: str) -> list[Path]:
        """Return the files of a series.

        Raises:
            FolderUnavailableError: The folder is unavailable.
            UserError: A file was deleted.
            DamagedFileError: A file of the workspace is damaged.
        """
        files = self._series_files(study_instance_uid, series_instance_uid)
        return [self.check_readable(self._intact(file).path) for file in files]

    def check_readable(self, path: Path) -> Path:
        """Return ``path``, a file of the index, if it can be read.

        Raises:
            FolderUnavailableError: The folder is unavailable.
            UserError: The file was deleted.
        """
        try:
            with path.open("rb"):
                return path
        except OSError as error:
            raise read_failure(path, error, self.index.roots) from error

    def versions(self, study_instance_uid: str, series_instance_uid: str) -> dict[str, str]:
        """Return by SOPInstanceUID, for each instance of a series, a value that changes when its file changes."""
        return {file.sop_uid: file.version for file in self._series_files(study_instance_uid, series_instance_uid)}

    def images(self) -> list[ImageFile]:
        """Return the NIfTI, NRRD and MetaImage files, which DICOMweb queries do not cover."""
        return self.index.images()

    def store_instances(self, datasets: Sequence[Dataset], study_instance_uid: str | None = None) -> Dataset:
        """Store datasets in the workspace (STOW-RS) and return the store response (PS3.18 10.5.3)."""
        return self._store.store_instances(datasets)

    def store_files(self, parts: Sequence[Path], study_instance_uid: str | None = None) -> Dataset:
        """Store files in the workspace (STOW-RS); see :meth:`FolderStore.store_files`."""
        return self._store.store_files(parts, study_instance_uid)

    def _read(self, read: Callable[[IndexedFile], _Read], file: IndexedFile) -> _Read:
        try:
            return read(self._intact(file))
        except OSError as error:
            if error.errno is None:
                raise
            raise read_failure(file.path, error, self.index.roots) from error

    def _hidden(self, study_uid: str) -> dict[str, str]:
        return shared_uids(header for header, _ in self.index.series(study_uid))

    def _series_files(self, study_uid: str, series_uid: str) -> list[IndexedFile]:
        return [file for file in self.index.instances(series_uid) if file.study_uid == study_uid]

    def _intact(self, file: IndexedFile) -> IndexedFile:
        """Return the file if it is intact; files outside of the workspace have no checksum to compare with.

        Raises:
            DamagedFileError: The file belongs to the workspace and is damaged.
        """
        self.objects.check(file.path)
        return file

    def _file(self, study_uid: str, series_uid: str, sop_uid: str) -> IndexedFile:
        found = [file for file in self.index.instances(series_uid, sop_uid) if file.study_uid == study_uid]
        if len(found) == 1:
            return found[0]
        raise LookupError(f"There is no instance {sop_uid} in series {series_uid} of study {study_uid}.")


def _metadata(file: IndexedFile) -> _DicomJson:
    return {
        **_cached_metadata(file.path, file.version),
        "00080016": file.attributes["00080016"],
        "0020000D": {"vr": "UI", "Value": [file.study_uid]},
        "0020000E": {"vr": "UI", "Value": [file.series_uid]},
        "00080018": {"vr": "UI", "Value": [file.sop_uid]},
    }


@lru_cache(maxsize=_CACHED_INSTANCES)
def _cached_metadata(path: Path, version: str) -> _DicomJson:
    return read_metadata(path)


def _instance(file: IndexedFile) -> Dataset:
    dataset = read_dicom(file.path, force=True)
    dataset.StudyInstanceUID = file.study_uid
    dataset.SeriesInstanceUID = file.series_uid
    dataset.SOPInstanceUID = file.sop_uid
    meta = dataset.file_meta
    meta.MediaStorageSOPInstanceUID = UID(file.sop_uid)
    meta.TransferSyntaxUID = UID(meta.get("TransferSyntaxUID") or file.transfer_syntax)
    meta.MediaStorageSOPClassUID = UID(meta.get("MediaStorageSOPClassUID") or values_of(file.attributes, "00080016")[0])
    return dataset


def _searchable(filters: Mapping[str, Any] | None, tags: tuple[str | None, ...]) -> dict[str, Any]:
    """Return the filters without those on attributes of other levels, which a server may ignore (PS3.18 8.3.4.4)."""
    return {name: value for name, value in (filters or {}).items() if tag_of(name) in tags}


def _page(found: list[_DicomJson], limit: int | None, offset: int | None) -> list[_DicomJson]:
    start = max(offset or 0, 0)
    return found[start : start + limit] if limit is not None and limit >= 0 else found[start:]
