"""``/session`` routes: an image uploaded once and segmented several times, as MONAI Label's clients do.

MONAI Label's own routes unpack archives of any size, follow paths out of the folder (zip slip) and accept any text as
an id. None of this is needed: a volume is one file.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, File, UploadFile
from fastapi.responses import FileResponse
from monailabel.endpoints.user.auth import User

from lib.errors import UserError
from lib.server.app_protocol import LungLabelApp
from lib.server.current_user import current_user
from lib.server.requests import uploaded_volume

_ID = re.compile(r"[0-9a-f-]{36}")


def session_router(app: LungLabelApp) -> APIRouter:
    """Return the session routes of ``app``."""
    router = APIRouter(
        prefix="/session",
        tags=["Session"],
    )

    @router.put("/", summary="Upload an image for several requests")
    def create(
        uncompress: bool = False,
        expiry: int = 0,
        files: list[UploadFile] = File(...),
        user: User = Depends(current_user),
    ) -> dict[str, Any]:
        if uncompress or len(files) != 1:
            raise UserError("A session takes one image file (.nii, .nii.gz, .nrrd or .mha); archives are not unpacked.")
        sessions = _sessions(app)
        with uploaded_volume(files[0], app.uploads_dir) as volume:
            session_id, session = sessions.add_session(str(volume), expiry, session_id=_new_id(user))
        return {"session_id": session_id, "session_info": session.to_json()}

    @router.get("/{session_id}", summary="Metadata of a session, or its image")
    def get(session_id: str, update_ts: bool = False, image: bool = False, user: User = Depends(current_user)) -> Any:
        session = session_of(app, session_id, user, update_ts)
        return FileResponse(session.image, filename=Path(session.image).name) if image else session.to_json()

    @router.delete("/{session_id}", summary="End a session")
    def remove(session_id: str, user: User = Depends(current_user)) -> Any:
        session = session_of(app, session_id, user)
        _sessions(app).remove_session(session_id)
        return session.to_json()

    return router


def session_of(app: LungLabelApp, session_id: str, user: User, update_ts: bool = True) -> Any:
    """Return a session of MONAI Label by its id.

    Raises:
        UserError: There is no such session of this user.
    """
    own = bool(_ID.fullmatch(session_id)) and session_id.endswith(_mark(user))
    session = _sessions(app).get_session(session_id, update_ts=update_ts) if own else None
    if session is None:
        raise UserError(f"There is no session {session_id[:40]!r}; it may have expired.", HTTPStatus.NOT_FOUND)
    return session


def _new_id(user: User) -> str:
    """Return an id that cannot be guessed, and whose end tells the user, also after a restart."""
    return str(uuid.uuid4())[:24] + _mark(user)


def _mark(user: User) -> str:
    return hashlib.sha256(user.username.encode()).hexdigest()[:12]


def _sessions(app: LungLabelApp) -> Any:
    if app.sessions() is None:
        raise UserError("Sessions are switched off on this server.", HTTPStatus.NOT_ACCEPTABLE)
    return app.sessions()
