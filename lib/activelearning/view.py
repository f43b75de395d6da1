"""A datastore as a strategy sees it: without the images that must not be offered."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from monailabel.interfaces.datastore import Datastore


class WithoutImages:
    """View of a datastore without some images.

    Args:
        datastore: The datastore.
        excluded: Ids of the images.
    """

    def __init__(self, datastore: Datastore, excluded: Collection[str]) -> None:
        self._datastore = datastore
        self._excluded = excluded

    def __getattr__(self, name: str) -> Any:
        return getattr(self._datastore, name)

    def get_unlabeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """Return the ids of the images without a label, as MONAI Label's datastores do."""
        return self._without(self._datastore.get_unlabeled_images(label_tag, labels))

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """Return the ids of the images with a label, as MONAI Label's datastores do."""
        return self._without(self._datastore.get_labeled_images(label_tag, labels))

    def _without(self, images: list[str]) -> list[str]:
        return [image for image in images if image not in self._excluded]
