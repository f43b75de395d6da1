"""Whether a volume or a mask is still of the series that it was made of."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from lib.datastore.catalog import DicomwebClient, Series
from lib.datastore.volume import READING
from lib.dicomweb.folder_client import FolderClient
from lib.dicomweb.matching import first_value, tag_of

# What a search may tell of an instance that changes with its pixels.
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
    """Return the fingerprint of the slices of a series, by their UIDs, and of their content.

    The content of a folder's series is told by size and time of its files. A PACS tells no such thing: there it is
    what a search returns of each instance, so pixels that change under the same UIDs are noticed only where their
    creation time, format or place changes as well.

    Raises:
        requests.RequestException: The PACS does not answer.
    """
    content: dict[str, str] = {}
    if isinstance(client, FolderClient):
        content = client.versions(series.study_uid, series.uid)
    else:
        fields = ("InstanceCreationDate", "InstanceCreationTime")
        for instance in client.search_for_instances(series.study_uid, series.uid, fields=fields):
            told = {tag: instance[tag].get("Value") for tag in _CONTENT_TAGS if tag in instance}
            content[first_value(instance, "SOPInstanceUID")] = json.dumps(told, sort_keys=True)
    uids = sorted(content)
    return f"{_hash(uids)}-{_hash([READING, *(content[uid] for uid in uids)])}"


def grid_of(volume: Path) -> str:
    """Return the fingerprint of the slices that a volume is made of: what masks of it are bound to.

    It stays the same where only the pixels of the same slices change, so that labels go on being of their image.

    Args:
        volume: Path in the cache, whose folder has the name that :func:`fingerprint_of` returned.
    """
    return volume.parent.name.partition("-")[0]


def _hash(texts: list[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]
