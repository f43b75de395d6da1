"""Grid of a series from its headers, without reading its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lib.datastore.catalog import DicomwebClient, Series
from lib.dicomweb import attributes
from lib.dicomweb.folder_client import FolderClient
from lib.dicomweb.frames import is_multi_frame, slice_headers
from lib.dicomweb.matching import first_value
from lib.geometry.slice_stack import SliceStack
from lib.geometry.voxel_grid import VoxelGrid


@dataclass(frozen=True)
class SeriesGrid:
    """Voxels of a series.

    Attributes:
        size: Columns, rows, slices.
        spacing: Distance between columns, rows and slices (the typical one of uneven slices), mm.
    """

    size: tuple[int, int, int]
    spacing: tuple[float, float, float]


def series_grid(series: Series, client: DicomwebClient) -> SeriesGrid | None:
    """Return the grid of a usable series; None if its headers do not have it.

    Args:
        series: DICOM series or image file.
        client: Client of the folder or PACS.

    Raises:
        requests.RequestException: The PACS does not respond.
    """
    if series.file is not None:
        return _grid_of_file(series, client)
    try:
        slices = _slices(series, client)
        stack = SliceStack.from_headers(slices)
        columns, rows = (int(first_value(slices[0], keyword)) for keyword in ("Columns", "Rows"))
    except (ValueError, IndexError):
        return None
    return SeriesGrid((columns, rows, len(slices)), (*stack.pixel_spacing, stack.typical_gap))


def exact_grid(series: Series, client: DicomwebClient) -> VoxelGrid:
    """Return the grid of a usable DICOM series with the position that its headers state for each slice.

    The grid of its volume has them only if the slices are clearly uneven; what other programs mark on the slices is
    placed by the headers. Both are the same voxels.

    Args:
        series: Usable DICOM series.
        client: Client of the folder or PACS.

    Raises:
        ValueError: The slices have changed, and do not form a stack any more.
        requests.RequestException: The PACS does not respond.
    """
    slices = _slices(series, client)
    rows, columns = (int(first_value(slices[0], keyword)) for keyword in ("Rows", "Columns"))
    return SliceStack.from_headers(slices).grid(rows, columns, exact=True)


def _slices(series: Series, client: DicomwebClient) -> list[dict[str, Any]]:
    """Return the header of each slice; of whole instances if a search does not have the positions."""
    instances = client.search_for_instances(series.study_uid, series.uid, fields=attributes.INSTANCE)
    if is_multi_frame(instances) or not first_value(instances[0], "ImagePositionPatient"):
        instances = client.retrieve_series_metadata(series.study_uid, series.uid)
    return slice_headers(instances)


def _grid_of_file(series: Series, client: DicomwebClient) -> SeriesGrid | None:
    assert isinstance(client, FolderClient), "image files are in folders only"
    for image in client.images():
        if image.uid == series.uid:
            columns, rows, slices = image.size[:3]
            x, y, z = image.spacing[:3]
            return SeriesGrid((columns, rows, slices), (x, y, z))
    return None
