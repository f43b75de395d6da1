"""Shared test helpers: servers, a PACS, a browser and DICOM data."""
