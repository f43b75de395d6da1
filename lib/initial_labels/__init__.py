"""Initial labels of series, made from the segmentations found in the same folder or PACS."""
