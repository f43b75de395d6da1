"""CT series of other studies of the patient, to compare a series with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from http import HTTPStatus

import requests
from monailabel.interfaces.datastore import DefaultLabelTag

from lib.datastore.catalog import Series
from lib.datastore.series_datastore import SeriesDatastore
from lib.datastore.series_volume import pacs_unreachable
from lib.dicomweb.matching import first_value
from lib.errors import UserError

_FINAL = DefaultLabelTag.FINAL.value
_ISSUER = "IssuerOfPatientID"


@dataclass(frozen=True)
class OtherSeries:
    """A CT series of another study of the same patient.

    Attributes:
        series: SeriesInstanceUID.
        study: StudyInstanceUID.
        date: Study Date; None if it is missing or invalid.
        description: Series Description.
        slice_thickness: mm; None if it is missing.
        kernel: Convolution Kernel; may be empty.
        labelled: Whether it has a final label.
        days: From its study to that of the series it is compared with; negative for a later one, None without dates.
    """

    series: str
    study: str
    date: date | None
    description: str
    slice_thickness: float | None
    kernel: str
    labelled: bool
    days: int | None

    @property
    def is_earlier(self) -> bool:
        """Whether its study is of an earlier day."""
        return self.days is not None and self.days > 0


def other_studies(datastore: SeriesDatastore, image_id: str) -> list[OtherSeries]:
    """Return the usable CT series of other studies of the patient of an image, the best to compare with first.

    Studies belong to one patient if Patient ID and Issuer of Patient ID are the same (PS3.3 C.2.2); without a Patient
    ID nothing is known of that. Earlier series come before later ones, labelled ones before others, and then the
    closest in time.

    Raises:
        UserError: There is no such image, or the PACS does not respond.
    """
    return sorted(_compared(datastore, datastore.series(image_id), datastore.catalog.all()), key=_preference)


def other_study(datastore: SeriesDatastore, image_id: str, other_id: str) -> OtherSeries:
    """Return a series of another study of the patient of an image.

    Raises:
        UserError: One of them does not exist, or they are not of two studies of one patient.
    """
    found = _compared(datastore, datastore.series(image_id), [datastore.series(other_id)])
    if not found:
        raise UserError(
            f"Series {other_id} is not of another study of the patient of series {image_id}.", HTTPStatus.NOT_FOUND
        )
    return found[0]


def former_labelled(datastore: SeriesDatastore, image_id: str) -> OtherSeries | None:
    """Return the latest earlier series of the patient that has a final label; None if there is none."""
    try:
        others = other_studies(datastore, image_id)
    except UserError:  # the image is gone, or the PACS away
        return None
    return next((one for one in others if one.is_earlier and one.labelled), None)


def _compared(datastore: SeriesDatastore, current: Series, candidates: Iterable[Series]) -> list[OtherSeries]:
    """Return those of the candidates that are of other studies of the patient."""
    if not current.is_dicom or not current.value("PatientID"):
        return []
    possible = [one for one in candidates if _may_be_compared(one, current)]
    issuer = _details(datastore, current)[_ISSUER] if possible else ""
    described = [(one, _details(datastore, one)) for one in possible]
    return [_other_series(datastore, one, current, details) for one, details in described if details[_ISSUER] == issuer]


def _may_be_compared(one: Series, current: Series) -> bool:
    return (
        one.problem is None
        and one.is_dicom
        and one.study_uid != current.study_uid
        and one.value("PatientID") == current.value("PatientID")
    )


def _other_series(datastore: SeriesDatastore, one: Series, current: Series, details: dict[str, str]) -> OtherSeries:
    when, now = study_date(one), study_date(current)
    return OtherSeries(
        series=one.uid,
        study=one.study_uid,
        date=when,
        description=one.value("SeriesDescription"),
        slice_thickness=_number(details["SliceThickness"]),
        kernel=details["ConvolutionKernel"],
        labelled=_FINAL in datastore.labels.in_use(one.uid),
        days=(now - when).days if when and now else None,
    )


def _details(datastore: SeriesDatastore, series: Series) -> dict[str, str]:
    """Return what tells patients and reconstructions apart; of its first instance where the series does not have it."""
    names = (_ISSUER, "SliceThickness", "ConvolutionKernel")
    try:
        instances = datastore.client.search_for_instances(series.study_uid, series.uid, fields=names)
    except requests.RequestException as error:
        raise pacs_unreachable(datastore.client, series.uid, error) from error
    first = instances[0] if instances else {}
    return {name: series.value(name) or first_value(first, name) for name in names}


def study_date(series: Series) -> date | None:
    """Return the Study Date of a series; None if it is missing or invalid."""
    try:
        return datetime.strptime(series.value("StudyDate"), "%Y%m%d").date()
    except ValueError:
        return None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _preference(one: OtherSeries) -> tuple[bool, bool, int, str]:
    return (not one.is_earlier, not one.labelled, abs(one.days) if one.days is not None else 10**6, one.series)
