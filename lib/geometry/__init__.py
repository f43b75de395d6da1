"""Geometry of volumes: slice stacks, voxel grids, resampling between grids, connected components."""
