"""The strategy ``last``; MONAI Label has only ``first`` and ``random``."""

from __future__ import annotations

from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.strategy import Strategy


class Last(Strategy):
    """Offers the unlabelled image with the highest id, so that two people can work from both ends."""

    def __init__(self) -> None:
        super().__init__("The last of the scans without a label, so that two people can work from both ends")

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        """Return the chosen image; None if all are labelled."""
        images = datastore.get_unlabeled_images(request.get("label_tag"), request.get("labels"))
        return {"id": max(images)} if images else None
