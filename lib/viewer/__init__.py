"""OHIF as MONAI Label ships it, served right."""
