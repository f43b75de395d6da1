"""Frames per second from a folder, compared with Orthanc on the same files."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

from lib.dicomweb.matching import values_of
from tools.support.orthanc import orthanc_is_installed, orthanc_server

_WORKERS = 6  # concurrent requests of a browser to one host


def frames_per_second(dicomweb: str) -> tuple[float, int]:
    """Measure the rate at which the frames of the largest CT series can be fetched as OHIF does.

    Args:
        dicomweb: Root of the DICOMweb service.

    Returns:
        Frames per second in the better of two rounds, and the number of frames.
    """
    series = max(
        requests.get(f"{dicomweb}/series", params={"Modality": "CT"}, timeout=60).json(),
        key=lambda item: int((values_of(item, "00201209") or ["0"])[0]),
    )
    study_uid, series_uid = values_of(series, "0020000D")[0], values_of(series, "0020000E")[0]
    base = f"{dicomweb}/studies/{study_uid}/series/{series_uid}/instances"
    uids = [values_of(item, "00080018")[0] for item in requests.get(base, timeout=60).json()]
    headers = {"Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=*'}

    def fetch(share: list[str]) -> None:
        with requests.Session() as session:
            for uid in share:
                session.get(f"{base}/{uid}/frames/1", headers=headers, timeout=60).raise_for_status()

    rates = []
    for _ in range(2):
        start = time.perf_counter()
        with ThreadPoolExecutor(_WORKERS) as pool:
            list(pool.map(fetch, [uids[worker::_WORKERS] for worker in range(_WORKERS)]))
        rates.append(len(uids) / (time.perf_counter() - start))
    return max(rates), len(uids)


def orthanc_frames_per_second(studies: Path, scratch: Path) -> float | None:
    """Return frames per second of an Orthanc server with the same files; None if Orthanc is not installed."""
    if not orthanc_is_installed():
        return None
    with orthanc_server(scratch) as orthanc:
        orthanc.upload(studies)
        return frames_per_second(orthanc.url)[0]
