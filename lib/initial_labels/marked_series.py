"""The DICOM SEG and RTSTRUCT of a folder or PACS, and a folder's LIDC-IDRI readings: what each marks on a series."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import requests
import SimpleITK as sitk
from pydicom import dcmread

from lib.annotations import dicom_seg, lidc_xml, rtstruct
from lib.annotations.regions import select, union
from lib.annotations.series_references import References
from lib.datastore.catalog import Series, SeriesCatalog
from lib.dicomweb import attributes
from lib.dicomweb.folder_walk import FolderUnavailableError
from lib.dicomweb.frames import is_multi_frame, slice_headers
from lib.dicomweb.matching import first_value
from lib.errors import UserError
from lib.geometry.slice_stack import SliceStack
from lib.initial_labels.marked_objects import LIDC_XML, RTSTRUCT, SEG, MarkedObjects, Source

_READERS = {SEG: dicom_seg.read_regions, RTSTRUCT: rtstruct.read_regions, LIDC_XML: lidc_xml.read_regions}


@dataclass(frozen=True)
class Finding:
    """What became of a source.

    Attributes:
        source: Which.
        named: SeriesInstanceUIDs that it refers to, by name or by images.
        image_ids: Those of them that are images here.
        mask: The label on the grid of the one image; None if there is none.
        info: What is kept with the label: source, regions, creator, time, volume (ml), warnings.
        problem: A sentence; why there is no mask.
        retry: Whether the problem may be that of the connection, not of the source.
    """

    source: Source
    named: frozenset[str] = frozenset()
    image_ids: tuple[str, ...] = ()
    mask: sitk.Image | None = None
    info: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None
    retry: bool = False

    @property
    def checksum(self) -> str:
        """SHA-256 of the voxels of the mask."""
        assert self.mask is not None
        return hashlib.sha256(np.packbits(sitk.GetArrayViewFromImage(self.mask)).tobytes()).hexdigest()


def look(
    client: Any,
    catalog: SeriesCatalog,
    rules: Mapping,
    *,
    objects: MarkedObjects | None = None,
    skip: Callable[[Source], bool] = lambda source: False,
    wanted: Callable[[str], bool] = lambda image_id: True,
) -> Iterator[Finding]:
    """Read each source that is not skipped, the oldest first; nothing is raised for a single one.

    Args:
        client: Of the folder or PACS.
        catalog: Its series.
        rules: ``imports`` of ``info.yaml``.
        objects: Lists the sources; given again, it asks a PACS only for what is new.
        skip: Asked before a source is fetched.
        wanted: Whether an image is to be labelled.
    """
    for source in (objects or MarkedObjects(client)).sources():
        if skip(source):
            continue
        named: frozenset[str] = frozenset()
        image_ids: tuple[str, ...] = ()
        try:
            with _fetched(client, source) as path:
                references = _references(path, source.kind)
                meant = references.meant(catalog, client)
                named = references.series | {series.uid for series in meant}
                known = [series for series in meant if series.problem is None]
                image_ids = tuple(series.uid for series in known if wanted(series.uid))
                if not image_ids:
                    yield Finding(source, named)
                    continue
                if len(known) > 1:
                    raise UserError(f"It refers to {len(known)} series, and may be of any.")
                references.check_frame(known[0], client)
                mask, info = _draw(client, known[0], path, source, rules)
                yield Finding(source, named, image_ids, mask, info)
        except FolderUnavailableError:  # which says nothing of the object: a later look may reach it
            continue
        except Exception as error:  # one broken object must not hide the others
            sentence = str(error) if isinstance(error, UserError) else f"It cannot be read ({error})."
            problem = f"{source.kind} {source.uid} became no initial label. {sentence}"
            yield Finding(source, named, image_ids, problem=problem, retry=isinstance(error, requests.RequestException))


@contextlib.contextmanager
def _fetched(client: Any, source: Source) -> Iterator[Path]:
    if source.path:
        yield source.path
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "object.dcm"
        dataset = client.retrieve_instance(source.study_uid, source.series_uid, source.uid)
        dataset.save_as(path, write_like_original=False)
        yield path


def _references(path: Path, kind: str) -> References:
    if kind == LIDC_XML:
        elements = ElementTree.parse(path).iter("{http://www.nih.gov}SeriesInstanceUid")
        return References(frozenset((element.text or "").strip() for element in elements))
    return References.of(dcmread(path, stop_before_pixels=True))


def _draw(client: Any, series: Series, path: Path, source: Source, rules: Mapping) -> tuple[sitk.Image, dict[str, Any]]:
    """The label and what is kept with it.

    Raises:
        UserError: There is none, or it is not clear which.
    """
    instances = client.search_for_instances(series.study_uid, series.uid, fields=attributes.INSTANCE)
    if is_multi_frame(instances) or not first_value(instances[0], "ImagePositionPatient"):
        instances = client.retrieve_series_metadata(series.study_uid, series.uid)
    slices = slice_headers(instances)
    info: dict[str, Any] = {"source": {"kind": source.kind, "uid": source.uid}}
    if source.kind == LIDC_XML:
        info["source"]["file"] = path.name
    else:
        header = dcmread(path, stop_before_pixels=True)
        for name, keywords in _TOLD.items():
            info["source"][name] = next((str(header.get(word)) for word in keywords if header.get(word)), None)
    rows, columns = (int(first_value(slices[0], keyword)) for keyword in ("Rows", "Columns"))
    grid = SliceStack.from_headers(slices).grid(rows, columns)
    regions = select(_READERS[source.kind](path, grid), rules)
    mask = union(regions)
    info["source"]["regions"] = [region.name for region in regions]
    info["warnings"] = [warning for region in regions for warning in region.warnings]
    info["millilitres"] = round(np.count_nonzero(sitk.GetArrayViewFromImage(mask)) * _millilitres(mask), 4)
    info["annotator"] = info["source"].get("creator") or source.kind
    info["note"] = f"from {source.kind}: {', '.join(info['source']['regions'])}"
    return mask, info


def _millilitres(mask: sitk.Image) -> float:
    """Of one voxel."""
    return float(np.prod(mask.GetSpacing())) / 1000


_TOLD = {
    "creator": ("ContentCreatorName", "OperatorsName", "Manufacturer"),
    "date": ("ContentDate", "StructureSetDate", "SeriesDate"),
    "time": ("ContentTime", "StructureSetTime", "SeriesTime"),
    "description": ("ContentDescription", "StructureSetLabel", "SeriesDescription"),
}
