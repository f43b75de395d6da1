"""Measurements of ``python main.py benchmark``; compare ratios within one run, not times between machines."""
