"""Labels made from the annotation objects of a folder or PACS, on the grids of its series."""

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
from lib.datastore.series_grid import exact_grid
from lib.dicomweb.folder_walk import FolderUnavailableError
from lib.errors import UserError
from lib.geometry.voxel_grid import VoxelGrid
from lib.initial_labels.annotation_objects import LIDC_XML, RTSTRUCT, SEG, AnnotationObjects, Source

_READERS = {SEG: dicom_seg.read_regions, RTSTRUCT: rtstruct.read_regions, LIDC_XML: lidc_xml.read_regions}


@dataclass(frozen=True)
class AnnotationResult:
    """Result of reading an annotation object.

    Attributes:
        source: The object.
        referenced: SeriesInstanceUIDs that it refers to, directly or by images.
        image_ids: The referenced series that are images of the datastore.
        mask: The label on the grid of the image; None if there is none.
        info: Metadata to store with the label: source, regions, creator, time, volume (ml), warnings. Of a refused
            object, only its source as far as it could be read.
        reason: Why there is no mask, as a sentence.
        retry: Whether the problem may be caused by the connection rather than the object.
    """

    source: Source
    referenced: frozenset[str] = frozenset()
    image_ids: tuple[str, ...] = ()
    mask: sitk.Image | None = None
    info: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None
    retry: bool = False

    @property
    def problem(self) -> str | None:
        """Why the object became no label, as a sentence that names it."""
        name = f"{self.source.kind} {self.source.uid}"
        return self.reason and f"{name} became no initial label. {self.reason}"

    @property
    def checksum(self) -> str:
        """SHA-256 of the voxels of the mask.

        Raises:
            ValueError: There is no mask.
        """
        if self.mask is None:
            raise ValueError("The object has no mask.")
        return hashlib.sha256(np.packbits(sitk.GetArrayViewFromImage(self.mask)).tobytes()).hexdigest()


def read_annotations(
    client: Any,
    catalog: SeriesCatalog,
    rules: Mapping,
    *,
    objects: AnnotationObjects | None = None,
    skip: Callable[[Source], bool] = lambda source: False,
) -> Iterator[AnnotationResult]:
    """Read all objects except skipped ones; a problem with an object is reported in its result, not raised.

    Args:
        client: Client of the folder or PACS.
        catalog: Series of the folder or PACS.
        rules: ``imports`` of ``info.yaml``.
        objects: List of the objects; reusing it between calls limits the queries to what is new.
        skip: Returns whether to skip an object; called before the object is retrieved.
    """
    for source in (objects or AnnotationObjects(client)).sources():
        if skip(source):
            continue
        referenced: frozenset[str] = frozenset()
        image_ids: tuple[str, ...] = ()
        described: dict[str, Any] = {"kind": source.kind, "uid": source.uid}
        try:
            with _local_file(client, source) as path:
                described = _described(path, source)
                references = _references(path, source.kind)
                found = references.find_series(catalog, client)
                referenced = references.series | {series.uid for series in found}
                usable = [series for series in found if series.problem is None]
                image_ids = tuple(series.uid for series in usable)
                if not image_ids:
                    yield AnnotationResult(source, referenced)
                    continue
                if len(usable) > 1:
                    raise UserError(f"The object refers to {len(usable)} series, and may belong to any of them.")
                references.check_frame(usable[0], client)
                mask, info = _make_label(client, usable[0], path, described, rules)
                yield AnnotationResult(source, referenced, image_ids, mask, info)
        except FolderUnavailableError:  # says nothing about the object: a later call may reach it
            continue
        except Exception as error:  # one broken object must not hide the others
            reason = str(error) if isinstance(error, UserError) else f"The object cannot be read ({error})."
            retry = isinstance(error, requests.RequestException)
            info = {"source": described}
            yield AnnotationResult(source, referenced, image_ids, info=info, reason=reason, retry=retry)


@contextlib.contextmanager
def _local_file(client: Any, source: Source) -> Iterator[Path]:
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


def _described(path: Path, source: Source) -> dict[str, Any]:
    """Return what an object says about its origin."""
    described: dict[str, Any] = {"kind": source.kind, "uid": source.uid}
    if source.kind == LIDC_XML:
        return {**described, "file": path.name}
    header = dcmread(path, stop_before_pixels=True)
    for name, keywords in _DESCRIPTION_KEYWORDS.items():
        described[name] = next((str(header.get(word)) for word in keywords if header.get(word)), None)
    return described


def _make_label(
    client: Any, series: Series, path: Path, source: dict[str, Any], rules: Mapping
) -> tuple[sitk.Image, dict[str, Any]]:
    """Return the label of a series and the metadata to store with it.

    Args:
        client: Client of the folder or PACS.
        series: Series that the object refers to.
        path: File of the object.
        source: Origin of the object.
        rules: ``imports`` of ``info.yaml``.

    Raises:
        UserError: No region is accepted as the tumour, or the selection is ambiguous.
    """
    regions = select(_READERS[source["kind"]](path, exact_grid(series, client)), rules)
    mask = union(regions)
    names = [region.name for region in regions]
    return mask, {
        "source": {**source, "regions": names},
        "warnings": [warning for region in regions for warning in region.warnings],
        "millilitres": round(np.count_nonzero(sitk.GetArrayViewFromImage(mask)) * _voxel_volume_ml(mask), 4),
        "annotator": source.get("creator") or source["kind"],
        "note": f"from {source['kind']}: {', '.join(names)}",
    }


def _voxel_volume_ml(mask: sitk.Image) -> float:
    return VoxelGrid.from_image(mask).voxel_mm3 / 1000


_DESCRIPTION_KEYWORDS = {
    "creator": ("ContentCreatorName", "OperatorsName", "Manufacturer"),
    "date": ("ContentDate", "StructureSetDate", "SeriesDate"),
    "time": ("ContentTime", "StructureSetTime", "SeriesTime"),
    "description": ("ContentDescription", "StructureSetLabel", "SeriesDescription"),
}
