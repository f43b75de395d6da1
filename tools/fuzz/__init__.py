"""Fuzzing of the real server with mutated DICOM files, requests and labels: ``python main.py fuzz``."""
