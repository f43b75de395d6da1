"""The images of a series, as the source of DICOM objects."""

from __future__ import annotations

from lib.datastore.series_datastore import SeriesDatastore
from lib.exports.source_images import SourceImages


def series_sources(datastore: SeriesDatastore, image_id: str) -> SourceImages:
    """Return the images that DICOM objects of a series refer to; an image file has none.

    Raises:
        UserError: There is no such series, or it cannot be referred to.
    """
    series = datastore.series(image_id)
    if series.file:
        return SourceImages.of([])
    return SourceImages.of(datastore.client.retrieve_series_metadata(series.study_uid, series.uid))
