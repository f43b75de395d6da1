"""Masks of models that are saved as labels: under which tags, and in whose name."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from monailabel.config import settings
from monailabel.endpoints.user.auth import User
from monailabel.interfaces.datastore import DefaultLabelTag

from lib.datastore.series_datastore import SeriesDatastore
from lib.errors import UserError
from lib.reading.stored_readings import check_label_tag
from lib.server.app_protocol import AUTHOR
from lib.server.current_user import is_logged_in


def check_saving(tag: object, user: User) -> None:
    """Check that a user may save the mask of a model under a tag.

    Raises:
        UserError: The role is too low, or the tag is invalid or that of people's labels.
    """
    check_label_tag(tag)
    if settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR not in user.roles:
        raise UserError("save_label needs the role annotator.", HTTPStatus.FORBIDDEN)
    if not isinstance(tag, str | None):
        raise UserError(f"label_tag must be a name, not {tag!r}.")
    if tag == DefaultLabelTag.FINAL.value and is_logged_in(user):
        raise UserError(
            "The mask of a model is not saved as final, because it has no author. Submit it with PUT /datastore/label.",
            HTTPStatus.FORBIDDEN,
        )


def signed(request: Mapping[str, Any], user: User) -> dict[str, Any]:
    """Return a request for an inference with who is logged in as its author, whatever author it names."""
    own = {name: value for name, value in request.items() if name != AUTHOR}
    return {**own, AUTHOR: user.username} if is_logged_in(user) else own


def saved(datastore: SeriesDatastore, request: Mapping[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """Save the mask of a model as a label of whoever asked for that; MONAI Label would save it without an author.

    Args:
        datastore: Images and labels.
        request: The request for an inference, as `signed` returns it.
        result: Its result.

    Returns:
        The result, with the id of the label that was saved.
    """
    if not request.get("save_label") or not result.get("file"):
        return result
    author = request.get(AUTHOR)
    info = {"model": request["model"], "params": result["params"]}
    signature = {"annotator": author, "user": author} if author else {}
    tag = request.get("label_tag") or DefaultLabelTag.ORIGINAL.value
    try:
        label = datastore.save_label(request["image"], result["file"], tag, {**info, **signature})
    except BaseException:
        Path(result["file"]).unlink(missing_ok=True)  # no answer will remove it
        raise
    return {**result, "label": label}
