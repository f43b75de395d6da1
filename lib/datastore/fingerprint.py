"""Fingerprints of series, to detect that a cached volume or a mask no longer matches."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from lib.datastore.catalog import DicomwebClient, Series
from lib.datastore.volume import READING
from lib.dicomweb.folder_client import FolderClient
from lib.dicomweb.matching import first_value, tag_of

# Attributes of a QIDO-RS response that change together with the pixels of an instance.
_CONTENT_TAGS = tuple(
    tag_of(keyword)
    for keyword in (
        "SOPClassUID",
        "InstanceCreationDate",
        "InstanceCreationTime",
        "InstanceNumber",
        "Rows",
        "Columns",
        "BitsAllocated",
        "NumberOfFrames",
        "ImagePositionPatient",
    )
)


def fingerprint_of(series: Series, client: DicomwebClient) -> str:
    """Return the fingerprint of a series: a hash of the UIDs of its slices and a hash of their content.

    For a folder, the content is the size and modification time of each file. A PACS has neither: there it is what a
    search returns of each instance, so pixels that change under the same UIDs are noticed only if their creation
    time, format or position changes too.

    Raises:
        requests.RequestException: The PACS does not respond.
    """
    content: dict[str, str] = {}
    if isinstance(client, FolderClient):
        content = client.versions(series.study_uid, series.uid)
    else:
        fields = ("InstanceCreationDate", "InstanceCreationTime")
        for instance in client.search_for_instances(series.study_uid, series.uid, fields=fields):
            attributes = {tag: instance[tag].get("Value") for tag in _CONTENT_TAGS if tag in instance}
            content[first_value(instance, "SOPInstanceUID")] = json.dumps(attributes, sort_keys=True)
    uids = sorted(content)
    return f"{_hash(uids)}-{_hash([READING, *(content[uid] for uid in uids)])}"


def grid_of(volume: Path) -> str:
    """Return the hash of the slices of a cached volume, which its masks refer to.

    It does not change if only the pixels of the same slices change, so labels remain valid.

    Args:
        volume: Path in the cache, in a folder named by :func:`fingerprint_of`.
    """
    return volume.parent.name.partition("-")[0]


def _hash(texts: list[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]
