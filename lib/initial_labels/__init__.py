"""Turn the segmentations found beside a series into its initial label."""
