"""Outlining of the lesion that a user points at: the cube around it, the clicks as channels, and the predictor."""
