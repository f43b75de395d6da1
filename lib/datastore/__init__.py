"""Series of a folder or PACS as MONAI Label images, and every label ever submitted for them."""

from lib.datastore.series_datastore import SeriesDatastore

__all__ = ["SeriesDatastore"]
