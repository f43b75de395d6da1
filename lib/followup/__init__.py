"""Comparison of a series with those of earlier and later studies of the same patient."""
