"""Work on Dask workers: processes of this machine, Slurm jobs, or those of a running cluster."""
