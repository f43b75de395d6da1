"""Datastore: the CT series of a folder or PACS as MONAI Label images, and the history of their labels."""
