"""MONAI Label infer tasks."""

from lib.infers.lung_tumor import LungTumorInferTask

__all__ = ["LungTumorInferTask"]
