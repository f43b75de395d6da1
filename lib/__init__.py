"""LungLabel: a MONAI Label app for lung tumours on chest CT. Research use only."""

__version__ = "0.1.0"
