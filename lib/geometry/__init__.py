"""Where voxels lie in the patient: slice stacks, voxel grids, resampling between grids, connected components."""
