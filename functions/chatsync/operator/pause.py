"""The commands ``pause`` and ``resume``: they need Firestore only, and no function deployed."""

import time

from .. import outbox
from ..entry import set_up
from ..errors import FirebaseUnavailable
from . import options
from .options import IN_SYNC, Refused
from .terminal import print_line


def pause() -> int:
    """Stop every write to Stream within a minute; what is to be done waits in the outbox."""
    since = options.connect_to_firebase().pause.pause()
    print_line(f"Paused since {since:%Y-%m-%d %H:%M} UTC. Within a minute nothing is written.")
    print_line("`chatsync resume` ends it.")
    return IN_SYNC


def resume() -> int:
    """End a pause, and let the outbox do what waited. Again, it only completes what is left."""
    clients = options.connect_to_firebase()
    since = clients.pause.resume()
    if since is None:
        print_line("Nothing was paused.")
    else:
        print_line(f"Resumed: it was paused since {since:%Y-%m-%d %H:%M} UTC.")
        outbox.try_to_wake(time.time(), clients)
    # In a clone, `make start` tells Stream the webhook.
    local = options.IS_WHEEL and options.is_local(clients.firestore.project)
    try:
        if set_up.go_on(clients, local):
            print_line("`setUp` is called: `status` says whether the set-up is done.")
    except FirebaseUnavailable as error:
        raise Refused(f"setUp is not called ({error}): resume again, or deploy.") from error
    return IN_SYNC
