"""Files and images, kept like all else and served under /_files/ as Stream's CDN serves them.

The address is unguessable, and needs no token, as Stream's signed ones.
"""

from __future__ import annotations

import uuid
from base64 import b64decode, b64encode
from pathlib import PurePosixPath
from urllib.parse import quote, urlsplit

from aiohttp import web

from .app_settings import new_app
from .channel_config import config
from .errors import bad_input, not_found, too_large
from .membership import existing_channel, refuse_unusable_users
from .message_checks import acting_user
from .multipart import Part
from .permissions import refusal, refuse_unless_participant
from .restrictions import is_frozen_for, refuse_banned
from .state import Json, State

PATH = "/_files/{file_id}/{name}"


def upload_file(state: State, params: Json, body: Json) -> Json:
    return {"file": stored(state, params, body, "file_upload_config")}


def upload_image(state: State, params: Json, body: Json) -> Json:
    part = body.get("file")
    if isinstance(part, Part) and not part.content_type.startswith("image/"):
        raise bad_input(f"{part.content_type} is not the type of an image")
    return {"file": stored(state, params, body, "image_upload_config")}


def stored(state: State, params: Json, body: Json, setting: str) -> str:
    """The address of the new file."""
    record = existing_channel(state, params)
    refuse_unless_participant(state, record, "UploadAttachment")
    refuse_banned(state, record)
    if is_frozen_for(state, record):
        raise refusal(state, state.users[str(state.caller.user_id)], record, "UseFrozenChannel")
    if not config(record)["uploads"]:
        # Not the code for a feature that is off: so it was seen.
        raise bad_input("uploads are not enabled for this channel")
    part = body.get("file")
    if not isinstance(part, Part) or not part.filename:
        raise bad_input("file is a required field")
    user_id = acting_user(state, body)
    refuse_unusable_users(state, [user_id], "file upload")
    refuse_by_settings({**new_app(), **state.app}[setting], part)
    file_id = str(uuid.uuid4())
    cid = record["channel"]["cid"]
    state.files[file_id] = {
        "content": b64encode(part.content).decode(),  # as text, so that --data can keep it
        "content_type": part.content_type,
        "user_id": user_id,
        "cid": cid,
    }
    # To a URL, names of dots alone are steps to other folders.
    name = part.filename if part.filename.strip(".") else "file"
    return f"{state.caller.origin}/_files/{file_id}/{quote(name, safe='')}"


def refuse_by_settings(config: Json, part: Part) -> None:
    """As the app's settings say; empty lists allow all."""
    size_limit = config.get("size_limit") or 0
    if size_limit and len(part.content) > size_limit:
        raise too_large(f"the file is larger than {size_limit} bytes")
    extension = PurePosixPath(part.filename or "").suffix.lower()
    for kind, value in (("file_extensions", extension), ("mime_types", part.content_type)):
        allowed, blocked = config.get(f"allowed_{kind}"), config.get(f"blocked_{kind}")
        if (allowed and value not in allowed) or value in (blocked or []):
            raise bad_input(f"files of {value} are not allowed")


def delete_file(state: State, params: Json, body: Json) -> Json:
    """Whoever may upload removes their own; a server removes all."""
    record = existing_channel(state, params)
    refuse_unless_participant(state, record, "DeleteAttachment")
    path = urlsplit(params.get("url", "")).path
    file_id = path.removeprefix("/_files/").split("/")[0]
    file = state.files.get(file_id)
    if file is None or file["cid"] != record["channel"]["cid"]:
        raise not_found("there is no such file")
    if state.caller.user_id not in (None, file["user_id"]):
        raise refusal(state, state.users[state.caller.user_id], record, "DeleteAttachment")
    del state.files[file_id]
    return {}


async def get_file(state: State, request: web.Request) -> web.Response:
    file = state.files.get(request.match_info["file_id"])
    if file is None:
        return web.Response(status=404, text="there is no such file")
    headers = {
        "Content-Type": file["content_type"],
        "X-Content-Type-Options": "nosniff",
        # A page in a file must not act in this server's name, which has a control surface.
        "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'",
        "Cross-Origin-Resource-Policy": "cross-origin",
    }
    return web.Response(body=b64decode(file["content"]), headers=headers)
