"""Synthetic chest CTs with known lesions, for demonstrations and tests."""

from .acquisition import Acquisition
from .chest import PhantomLesion, chest_volume, draw_lesions
from .demo import DemoSeries, write_demo_studies, write_volume
from .dicom_series import study_instance_uid, write_dicom_series

__all__ = [
    "Acquisition",
    "DemoSeries",
    "PhantomLesion",
    "chest_volume",
    "draw_lesions",
    "study_instance_uid",
    "write_demo_studies",
    "write_dicom_series",
    "write_volume",
]
