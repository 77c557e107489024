"""Sessions of ``requests``, which the SDKs of Stream and of Firebase Auth make their calls with."""

import requests


def read_environment_once(session: requests.Session, url: str) -> None:
    """Let all calls of a session, which go to one host, take the proxies and certificates that the
    environment states for it now.

    By itself ``requests`` looks for them, and for a .netrc on disk, at every call: half of the CPU
    time of a call.
    """
    environment = session.merge_environment_settings(url, {}, None, None, None)
    session.proxies, session.verify = environment["proxies"], environment["verify"]
    session.trust_env = False
