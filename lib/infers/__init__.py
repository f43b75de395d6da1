"""MONAI Label infer tasks."""

from lib.infers.lung_tumor import LungTumorInferTask
from lib.infers.lung_tumor_click import LungTumorClickInferTask

__all__ = ["LungTumorClickInferTask", "LungTumorInferTask"]
