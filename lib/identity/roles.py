"""Roles of users, in the order of their rights."""

from __future__ import annotations

from enum import IntEnum


class Role(IntEnum):
    """Role of a user, as MONAI Label names it. Each may do what the ones below may.

    A user looks at images, labels and statistics, and runs the models. An annotator submits labels. A reviewer
    decides between labels, starts trainings and publishes model versions. An admin uploads models and reads the logs.
    """

    USER = 1
    ANNOTATOR = 2
    REVIEWER = 3
    ADMIN = 4

    @property
    def title(self) -> str:
        """Name in lower case, for messages and files."""
        return self.name.lower()

    @classmethod
    def of(cls, title: str) -> Role:
        """Return the role with this title.

        Raises:
            ValueError: There is no such role.
        """
        found = next((role for role in cls if role.title == title), None)
        if found is None:
            raise ValueError(f"There is no role {title!r}; there is {', '.join(role.title for role in cls)}.")
        return found
