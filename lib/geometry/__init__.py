"""Where voxels lie in the patient: stacks of slices, voxel grids, and the way from one grid to another."""
