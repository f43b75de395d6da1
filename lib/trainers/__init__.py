"""Train tasks of MONAI Label, and their automatic start."""

from lib.trainers.lung_tumor import LungTumorTrainTask
from lib.trainers.lung_tumor_click import LungTumorClickTrainTask

__all__ = ["LungTumorClickTrainTask", "LungTumorTrainTask"]
