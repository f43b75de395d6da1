"""Train task of MONAI Label, and its automatic start."""

from lib.trainers.lung_tumor import LungTumorTrainTask

__all__ = ["LungTumorTrainTask"]
