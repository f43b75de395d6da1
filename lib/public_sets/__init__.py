"""Import the labels of public data sets."""
