"""The part of MONAI Label's datastore that would change the user's images: refused."""

from __future__ import annotations

from typing import Any

from monailabel.interfaces.datastore import Datastore

from lib.datastore.catalog import DicomwebClient
from lib.errors import UserError


class FixedImages(Datastore):
    """Images that are those of a folder or PACS, whose address is the name of the datastore."""

    client: DicomwebClient

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Refuse: images come from the folder or PACS."""
        raise UserError(
            f"Images are not uploaded here: copy the DICOM files into {self.client.base_url}, or send them to "
            "the PACS; they show up by themselves."
        )

    def remove_image(self, image_id: str) -> None:
        """Refuse: the user's DICOM files are never removed."""
        raise UserError("Images are never removed by this server; your DICOM files are yours.")

    def name(self) -> str:
        """Return the address of the folder or PACS."""
        return self.client.base_url

    def set_name(self, name: str) -> None:
        """Refuse: the name is the address."""
        raise UserError("The name of this datastore is the address of its folder or PACS.")

    def description(self) -> str:
        """Return what the images are."""
        return "CT series by SeriesInstanceUID"

    def set_description(self, description: str) -> None:
        """Refuse: there is nothing to describe."""
        raise UserError("The description of this datastore is fixed.")
