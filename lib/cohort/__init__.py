"""Segmentation of whole cohorts: in this process, in local workers, or on a Dask cluster."""
