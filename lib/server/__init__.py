"""The routes that this app puts in front of MONAI Label's own."""
