"""MONAI Label's train task, and what decides when it runs."""

from lib.trainers.lung_tumor import LungTumorTrainTask

__all__ = ["LungTumorTrainTask"]
