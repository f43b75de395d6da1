"""Mutated DICOM files, requests and labels against the real server: ``python main.py fuzz``."""
