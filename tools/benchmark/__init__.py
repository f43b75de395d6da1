"""Measurements of ``python main.py benchmark``. Compare ratios within one run, not times of two machines."""
