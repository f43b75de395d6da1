"""DICOMweb client of a PACS, with timeout and login, that leaves out images that are not slices of their series."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import requests
from dicomweb_client.session_utils import create_session_from_user_pass
from monailabel.config import settings
from monailabel.datastore.dicom import DICOMwebClientX
from pydicom import Dataset
from requests.adapters import HTTPAdapter

from lib.dicomweb import attributes
from lib.dicomweb.file_exclusion import OTHER_KIND
from lib.dicomweb.image_kind import ImageKind, outlier_kinds
from lib.dicomweb.login import Login
from lib.dicomweb.matching import first_value

_DicomJson = dict[str, dict[str, Any]]
_Instance = TypeVar("_Instance")
_CONNECT_SECONDS = 10


class PacsClient(DICOMwebClientX):
    """MONAI Label's DICOMweb client, extended to leave out of each CT series the images that are not slices of it.

    The index of a folder does the same (:mod:`lib.dicomweb.file_exclusion`). The images are determined whenever the
    instances of a series are searched for with `attributes.INSTANCE`, which the catalog does before a series is used.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._left_out: dict[str, dict[str, str]] = {}  # by SeriesInstanceUID: the reason by SOPInstanceUID
        self._odd_lock = threading.Lock()

    def search_for_instances(
        self, study_instance_uid: str | None = None, series_instance_uid: str | None = None, **query: Any
    ) -> list[_DicomJson]:
        """Search for instances (QIDO-RS), without those that are left out."""
        found = super().search_for_instances(study_instance_uid, series_instance_uid, **query)
        if series_instance_uid and query.get("fields") == attributes.INSTANCE:
            self._judge(series_instance_uid, found)
        return self._kept(series_instance_uid, found, lambda one: first_value(one, "SOPInstanceUID"))

    def retrieve_series_metadata(self, study_instance_uid: str, series_instance_uid: str) -> list[_DicomJson]:
        """Return the WADO-RS metadata of a series, without instances that are left out."""
        found = super().retrieve_series_metadata(study_instance_uid, series_instance_uid)
        return self._kept(series_instance_uid, found, lambda one: first_value(one, "SOPInstanceUID"))

    def retrieve_series(self, study_instance_uid: str, series_instance_uid: str, **options: Any) -> list[Dataset]:
        """Return the instances of a series (WADO-RS), without those that are left out."""
        found = super().retrieve_series(study_instance_uid, series_instance_uid, **options)
        return self._kept(series_instance_uid, found, lambda one: str(one.SOPInstanceUID))

    def left_out(self) -> dict[str, list[tuple[Path, str]]]:
        """Return the SOPInstanceUIDs left out of each series, with the reason, in the format of a folder's client."""
        with self._odd_lock:
            return {
                series: [(Path(uid), OTHER_KIND + reason) for uid, reason in sorted(left_out.items())]
                for series, left_out in self._left_out.items()
            }

    def _judge(self, series_uid: str, instances: Sequence[_DicomJson]) -> None:
        kinds = {first_value(one, "SOPInstanceUID"): ImageKind.of("CT", one) for one in instances}
        outliers = outlier_kinds(Counter(kinds.values()))
        with self._odd_lock:
            self._left_out.pop(series_uid, None)
            if found := {uid: outliers[kind] for uid, kind in kinds.items() if kind in outliers}:
                self._left_out[series_uid] = found

    def _kept(
        self, series_uid: str | None, instances: list[_Instance], uid_of: Callable[[_Instance], str]
    ) -> list[_Instance]:
        with self._odd_lock:
            left_out = self._left_out.get(series_uid or "")
        return [one for one in instances if uid_of(one) not in left_out] if left_out else instances


class _TimeoutAdapter(HTTPAdapter):
    """HTTP adapter with the timeout of MONAI Label's settings; ``requests`` has none by default."""

    def send(
        self, request: requests.PreparedRequest, stream: bool = False, timeout: Any = None, *args: Any, **options: Any
    ) -> requests.Response:
        """Send a request; the default timeout is that of MONAI Label's settings."""
        timeout = timeout or (_CONNECT_SECONDS, settings.MONAI_LABEL_DICOMWEB_PROXY_TIMEOUT)
        return super().send(request, stream, timeout, *args, **options)


def pacs_session(login: Login | None = None) -> requests.Session:
    """Return a session with login and timeout.

    Args:
        login: User and password (default: those of MONAI Label's settings,
            ``MONAI_LABEL_DICOMWEB_USERNAME`` and ``MONAI_LABEL_DICOMWEB_PASSWORD``).
    """
    user, password = login or (
        settings.MONAI_LABEL_DICOMWEB_USERNAME,
        settings.MONAI_LABEL_DICOMWEB_PASSWORD,
    )
    session = create_session_from_user_pass(user, password) if user and password else requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, _TimeoutAdapter())
    return session


def pacs_client(url: str, login: Login | None = None) -> PacsClient:
    """Return a DICOMweb client for ``url``; login as in :func:`pacs_session`."""
    client = PacsClient(
        url=url.rstrip("/"),
        session=pacs_session(login),
        qido_url_prefix=settings.MONAI_LABEL_QIDO_PREFIX,
        wado_url_prefix=settings.MONAI_LABEL_WADO_PREFIX,
        stow_url_prefix=settings.MONAI_LABEL_STOW_PREFIX,
    )
    # By default the client retries for 30 s before it reports that a PACS does not respond.
    client.set_http_retry_params(max_attempts=3, wait_exponential_multiplier=200)
    return client
