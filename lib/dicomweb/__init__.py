"""DICOMweb (PS3.18) over a folder, and a proxy to a PACS."""
