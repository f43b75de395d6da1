"""Masks of models: which are kept for comparison, and which are saved as labels, under which tags and in whose name."""

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


def save_mask(datastore: SeriesDatastore, request: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    """Save the mask of a model as a label of whoever asked for it; MONAI Label would save it without an author.

    Args:
        datastore: Images and labels.
        request: The request for an inference, as `signed` returns it.
        result: Its result.

    Returns:
        The label id.
    """
    author = request.get(AUTHOR)
    info = {"model": request["model"], "params": result["params"]}
    signature = {"annotator": author, "user": author} if author else {}
    tag = request.get("label_tag") or DefaultLabelTag.ORIGINAL.value
    return datastore.save_label(request["image"], result["file"], tag, {**info, **signature})


def keep_prediction(
    datastore: SeriesDatastore, defaults: Mapping[str, Any], request: Mapping[str, Any], result: Mapping[str, Any]
) -> None:
    """Keep a mask of the model for whole scans, to determine later what a user changed in it.

    Args:
        datastore: Images and labels.
        defaults: ``config.infer`` of ``info.yaml``.
        request: The request for an inference.
        result: Its result; attention maps and answers without a file are not kept.
    """
    settings = {**defaults, **request}
    if not result.get("file") or settings["attention"]:
        return
    datastore.keep_prediction(
        request["image"],
        Path(result["file"]),
        model_version=result["params"]["model_version"],
        client_id=request.get("client_id"),
        settings={name: settings[name] for name in sorted(defaults.keys() - {"attention", "batch_size"})},
        findings=result["params"]["findings"],
    )
