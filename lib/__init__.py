"""LungLabel: a MONAI Label app for lung tumours on chest CT. Research use only."""
