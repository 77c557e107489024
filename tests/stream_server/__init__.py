"""A local stand-in for Stream Chat's REST API, for development and tests.

Stream has no emulator. This is a real HTTP server in its own process that speaks the part of
Stream's v1 API that concerns users, and the get-or-create call of channels: authentication,
status codes, error envelopes, replace-on-upsert, all-or-nothing batches, soft and hard deletes,
deactivation, bans, query filters and rate limits. Faults, limits and open questions are steered
over HTTP as well, under ``/_control`` (see control.py).

    python -m tests.stream_server [--host 127.0.0.1] [--port 3030] [--parent PID]

How Stream behaves is taken from its public OpenAPI document, the tests of its SDKs and its
documentation. Where these are silent or disagree, the behaviour is a switch (see state.SWITCHES)
whose description says what was assumed.

Everything lives in memory and every write is visible at once. Not here: messages, webhooks,
bans in a channel or for a time, connections of clients, other calls on channels, permissions of
client tokens, app settings, custom roles, the per-second burst guard, and what a deletion does to
messages and channels beyond taking the user out of member lists.
"""
