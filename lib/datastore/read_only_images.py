"""The methods of MONAI Label's datastore interface that would change the user's images; all are refused."""

from __future__ import annotations

from typing import Any

from monailabel.interfaces.datastore import Datastore

from lib.datastore.catalog import DicomwebClient
from lib.errors import UserError


class ReadOnlyImages(Datastore):
    """Datastore whose images are those of a folder or PACS and cannot be added or removed."""

    client: DicomwebClient

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Raise a UserError: images come from the folder or PACS."""
        raise UserError(
            f"Images cannot be uploaded: copy the DICOM files into {self.client.base_url}, or send them to the PACS; "
            "they are then listed automatically."
        )

    def remove_image(self, image_id: str) -> None:
        """Raise a UserError: the user's DICOM files are never removed."""
        raise UserError("This server never removes images: it only reads your DICOM files.")

    def name(self) -> str:
        """Return the address of the folder or PACS."""
        return self.client.base_url

    def set_name(self, name: str) -> None:
        """Raise a UserError: the name is the address of the folder or PACS."""
        raise UserError("The name of this datastore cannot be changed: it is the address of its folder or PACS.")

    def description(self) -> str:
        """Return a description of the images."""
        return "CT series by SeriesInstanceUID"

    def set_description(self, description: str) -> None:
        """Raise a UserError: the description is fixed."""
        raise UserError("The description of this datastore cannot be changed.")
