"""Training: the MONAI Label task, and the offline training behind the shipped weights."""

from lib.trainers.lung_tumor import LungTumorTrainTask

__all__ = ["LungTumorTrainTask"]
