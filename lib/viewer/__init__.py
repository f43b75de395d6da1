"""Configuration and panel for the OHIF viewer that MONAI Label ships."""
