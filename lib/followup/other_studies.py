"""CT series of other studies of the patient, to compare a series with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from monailabel.interfaces.datastore import DefaultLabelTag

from lib.datastore.catalog import Series
from lib.datastore.series_datastore import SeriesDatastore
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
        UserError: There is no such image.
    """
    current = datastore.series(image_id)
    if not current.is_dicom or not current.value("PatientID"):
        return []
    candidates = [one for one in datastore.catalog.all() if _may_be_compared(one, current)]
    if not candidates:
        return []
    issuer = _details(datastore, current)[_ISSUER]
    found = []
    for one in candidates:
        details = _details(datastore, one)
        if details[_ISSUER] == issuer:
            found.append(_other_series(datastore, one, current, details))
    return sorted(found, key=_preference)


def former_labelled(datastore: SeriesDatastore, image_id: str) -> OtherSeries | None:
    """Return the latest earlier series of the patient that has a final label; None if there is none."""
    try:
        others = other_studies(datastore, image_id)
    except UserError:  # the image is gone
        return None
    return next((one for one in others if one.is_earlier and one.labelled), None)


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
    instances = datastore.client.search_for_instances(series.study_uid, series.uid, fields=names)
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
