from __future__ import annotations

import re

import pytest
import requests

from stream_server.user_client import user_client, user_token
from tests.fast.refusals import refusal

PNG = b"\x89PNG\r\n\x1a\n\r\n--\r\n\x00\xff"
"""Not a whole picture, but with what must not end a part."""
FORBIDDEN = (403, 17)


@pytest.fixture
def of(stream, channel):
    return lambda user_id: user_client(stream, user_id).channel("messaging", "c1")


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a picture.png"
    path.write_bytes(PNG)
    return str(path)


def send_image(channel, path, user_id="ann", content_type="image/png"):
    return channel.send_image(path, "a b.png", {"id": user_id}, content_type=content_type)


def test_an_image_is_uploaded_and_served(channel, picture, stream):
    response = send_image(channel, picture)
    assert response.status_code() == 201
    url = response["file"]
    assert re.fullmatch(re.escape(stream.url) + r"/_files/[0-9a-f-]{36}/a%20b\.png", url)
    served = requests.get(url, headers={"Origin": "http://example.com"}, timeout=5)
    assert (served.content, served.headers["Content-Type"]) == (PNG, "image/png")
    assert served.headers["Access-Control-Allow-Origin"] == "*"
    assert "sandbox" in served.headers["Content-Security-Policy"]


def test_a_client_uploads_and_attaches_a_file(of, picture):
    url = of("ann").send_file(picture, "notes.txt", {}, content_type="text/plain")["file"]
    assert requests.get(url, timeout=5).headers["Content-Type"] == "text/plain"
    attachment = {"type": "file", "asset_url": url, "title": "notes.txt"}
    message = of("ann").send_message({"text": "", "attachments": [attachment]}, "ann")["message"]
    assert message["attachments"] == [attachment]


def test_an_upload_is_removed(channel, of, picture):
    url = send_image(of("ann"), picture)["file"]
    assert refusal(of("bea").delete_image, url) == FORBIDDEN
    assert of("ann").delete_image(url).is_ok()
    assert requests.get(url, timeout=5).status_code == 404
    assert refusal(channel.delete_image, url) == (404, 16)
    url = send_image(of("ann"), picture)["file"]
    assert channel.delete_file(url).is_ok()


def test_who_may_not_upload_is_refused(channel, of, picture):
    assert refusal(send_image, of("cid"), picture) == FORBIDDEN
    channel.ban_user("ann")
    assert refusal(send_image, of("ann"), picture) == FORBIDDEN
    channel.update_partial({"frozen": True})
    assert refusal(send_image, of("bea"), picture) == FORBIDDEN
    channel.update_partial({"frozen": False, "config_overrides": {"uploads": False}})
    assert refusal(send_image, of("bea"), picture) == (400, 4)


def test_only_images_are_images(channel, picture):
    assert refusal(send_image, channel, picture, content_type="text/plain") == (400, 4)
    assert channel.send_file(picture, "a.txt", {"id": "ann"}, content_type="text/plain").is_ok()


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"size_limit": 3}, (413, 22)),
        ({"allowed_file_extensions": [".jpg"]}, (400, 4)),
        ({"blocked_file_extensions": [".png"]}, (400, 4)),
        ({"allowed_mime_types": ["image/jpeg"]}, (400, 4)),
        ({"blocked_mime_types": ["image/png"]}, (400, 4)),
    ],
    ids=str,
)
def test_the_apps_settings_hold_for_uploads(chat, channel, picture, config, expected):
    chat.update_app_settings(image_upload_config=config)
    assert refusal(send_image, channel, picture) == expected
    chat.update_app_settings(image_upload_config={"allowed_file_extensions": [".png"]})
    assert send_image(channel, picture).is_ok()


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"{}", "application/json"),
        (b"--x\r\nno headers", "multipart/form-data; boundary=x"),
        (b"", "multipart/form-data; boundary=x"),
        (b"--x\r\n\r\n\r\n--x--", "multipart/form-data; boundary=x"),
        (b"--x--", "multipart/form-data; boundary=x"),
        (
            b'--x\r\nContent-Disposition: form-data; name="user"\r\n\r\n{\r\n--x--',
            "multipart/form-data; boundary=x",
        ),
    ],
    ids=str,
)
def test_a_bad_form_is_refused(channel, stream, body, content_type):
    client = channel.client
    response = requests.post(
        f"{stream.url}/channels/messaging/c1/file",
        params={"api_key": stream.key},
        data=body,
        headers={
            "Authorization": client.auth_token,
            "stream-auth-type": "jwt",
            "Content-Type": content_type,
        },
        timeout=5,
    )
    assert (response.status_code, response.json()["code"]) == (400, 4)


def test_a_reset_forgets_files(channel, picture, stream):
    url = send_image(channel, picture)["file"]
    stream.reset()
    assert requests.get(url, timeout=5).status_code == 404


@pytest.mark.parametrize("filename", [".", "..", "../../etc/passwd", "a?b#c%2f.png"])
def test_a_file_is_served_whatever_its_name(stream, channel, filename):
    parameters = {"api_key": stream.key}
    headers = {"Authorization": user_token(stream, "ann"), "stream-auth-type": "jwt"}
    url = f"{stream.url}/channels/messaging/c1/file"
    files = {"file": (filename, b"content", "text/plain")}
    uploaded = requests.post(url, params=parameters, headers=headers, files=files, timeout=5)
    assert requests.get(uploaded.json()["file"], timeout=5).content == b"content"
