"""A local stand-in for Stream Chat's REST API, for development and tests.

Stream has no emulator. This is a real HTTP server in its own process that speaks the part of
Stream's v1 API that concerns users and channels: authentication, status codes, error envelopes,
replace-on-upsert, all-or-nothing batches, soft and hard deletes, deactivation, bans, mutes, blocks,
flags, query filters, search, rate limits, channels and their members, invites, teams, messages with
threads, quotes and what is unread, signed webhooks, and the WebSocket of a client with the events
of what it watches, and those that it missed. Faults, limits,
webhooks and open questions are steered over HTTP as well, under ``/_control`` (see control.py).

    python -m stream_server [--host 127.0.0.1] [--port 3030] [--data FILE] [--seed FILE]

How Stream behaves is taken from its public OpenAPI document, the tests of its SDKs and its
documentation. Where these are silent or disagree, the behaviour is a switch (see state.SWITCHES)
whose description says what was assumed. Stream's own Python and JS SDKs are the judges of it.

Everything lives in memory, and with ``--data`` in a file as well (see data.py); every write is
visible at once. What isn't here is refused or has no endpoint, and a channel's config and
own_capabilities say so: polls, push, the review of flags, custom roles, permissions finer than
those in permissions.py, limits for clients, and the placeholder that owns a deleted user's
channels.
"""
