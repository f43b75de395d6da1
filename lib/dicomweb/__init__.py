"""DICOMweb (PS3.18) over a plain folder, and the way through to a PACS."""
