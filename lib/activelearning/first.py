"""The strategy ``first``, with a description for users."""

from __future__ import annotations

from monailabel.tasks.activelearning import first


class First(first.First):
    """Offers the unlabelled image with the lowest id."""

    def __init__(self) -> None:
        super().__init__()
        self.description = "The first of the scans without a label, in a fixed order"
