"""Import of public data sets: their readers, and storing their masks as labels."""
