"""Influence of slice thickness and reconstruction kernel on what the model finds, on scans with known lesions."""
