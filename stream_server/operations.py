"""Every operation of Stream's API that this server knows.

A handler takes the state, the parameters of path and query, and the JSON body, and returns the
body of the answer or raises a StreamError. Handlers never wait: each is atomic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import (
    application,
    ban_queries,
    blocking,
    channel_creation,
    channel_queries,
    channel_removal,
    channel_updates,
    devices,
    flags,
    hiding,
    live_events,
    member_updates,
    message_changes,
    message_queries,
    messages,
    moderation,
    mutes,
    pins,
    queries,
    reactions,
    reading,
    replies,
    search,
    sync,
    tasks,
    threads,
    truncation,
    unreading,
    uploads,
    user_removal,
    users,
    watching,
)
from .limits import Limit
from .state import Json, State

Handler = Callable[[State, Json, Json], Json]
Row = tuple[str, str, str, Handler, int | None]


@dataclass(frozen=True)
class Operation:
    name: str
    method: str
    path: str
    handler: Handler | None = None
    calls_per_minute: int | None = None
    client_side: bool = False
    """Whether a user's own client may call it, too."""
    is_upload: bool = False
    """Whether its body is a form with a file, and no JSON."""


CHANNEL, MESSAGE = "/channels/{type}/{id}", "/messages/{message_id}"

# Name, call, handler, and Stream's documented limit: calls of servers in a minute. It is assumed
# for those on messages, events, reading, moderation, devices and tasks, and for some on channels.
OF_SERVERS: tuple[Row, ...] = (
    # The app
    ("UpdateApp", "PATCH", "/app", application.update_app, 60),
    ("GetRateLimits", "GET", "/rate_limits", application.get_rate_limits, None),
    ("GetTask", "GET", "/tasks/{task_id}", tasks.get_task, 60),
    # Users
    ("DeleteUser", "DELETE", "/users/{user_id}", user_removal.delete_user, 60),
    ("DeleteUsers", "POST", "/users/delete", user_removal.delete_users, 6),
    ("RestoreUsers", "POST", "/users/restore", user_removal.restore_users, 60),
    ("DeactivateUsers", "POST", "/users/deactivate", user_removal.deactivate_users, 60),
    ("ReactivateUsers", "POST", "/users/reactivate", user_removal.reactivate_users, 60),
    ("DeactivateUser", "POST", "/users/{user_id}/deactivate", user_removal.deactivate_user, 60),
    ("ReactivateUser", "POST", "/users/{user_id}/reactivate", user_removal.reactivate_user, 60),
    # Moderation
    ("QueryMessageFlags", "GET", "/moderation/flags/message", flags.query_message_flags, 300),
    # Channels
    ("DeleteChannels", "POST", "/channels/delete", channel_removal.delete_channels, 60),
    # Messages
    ("UndeleteMessage", "POST", MESSAGE + "/undelete", message_changes.undelete_message, 10_000),
    # What was missed: unread, threads, search
    ("UnreadCountsBatch", "POST", "/unread_batch", unreading.get_unread_batch, 10_000),
)
OF_CLIENTS_TOO: tuple[Row, ...] = (
    # The app
    ("GetApp", "GET", "/app", application.get_app, 10_000),
    # Users
    ("UpdateUsers", "POST", "/users", users.update_users, 300),
    ("UpdateUsersPartial", "PATCH", "/users", users.update_users_partial, 300),
    ("QueryUsers", "GET", "/users", queries.query_users, 1_000),
    ("BlockUsers", "POST", "/users/block", blocking.block_user, 300),
    ("UnblockUsers", "POST", "/users/unblock", blocking.unblock_user, 300),
    ("GetBlockedUsers", "GET", "/users/block", blocking.get_blocked_users, 300),
    # Moderation
    ("Ban", "POST", "/moderation/ban", moderation.ban, 300),
    ("Unban", "DELETE", "/moderation/ban", moderation.unban, 300),
    ("QueryBannedUsers", "GET", "/query_banned_users", ban_queries.query_banned_users, 300),
    ("Mute", "POST", "/moderation/mute", mutes.mute_users, 300),
    ("Unmute", "POST", "/moderation/unmute", mutes.unmute_users, 300),
    ("Flag", "POST", "/moderation/flag", flags.flag, 300),
    ("Unflag", "POST", "/moderation/unflag", flags.unflag, 300),
    ("MuteChannel", "POST", "/moderation/mute/channel", mutes.mute_channels, 300),
    ("UnmuteChannel", "POST", "/moderation/unmute/channel", mutes.unmute_channels, 300),
    # Devices
    ("CreateDevice", "POST", "/devices", devices.create_device, 300),
    ("ListDevices", "GET", "/devices", devices.list_devices, 300),
    ("DeleteDevice", "DELETE", "/devices", devices.delete_device, 300),
    # Channels
    ("QueryChannels", "POST", "/channels", channel_queries.query_channels, 10_000),
    ("QueryMembers", "GET", "/members", channel_queries.query_members, 300),
    ("MarkDelivered", "POST", "/channels/delivered", reading.mark_delivered, 10_000),
    ("MarkChannelsRead", "POST", "/channels/read", reading.mark_all_read, 10_000),
    (
        "GetOrCreateChannel",
        "POST",
        "/channels/{type}/query",
        channel_creation.get_or_create_channel,
        10_000,
    ),
    (
        "GetOrCreateChannel",
        "POST",
        CHANNEL + "/query",
        channel_creation.get_or_create_channel,
        10_000,
    ),
    ("UpdateChannel", "POST", CHANNEL, channel_updates.update_channel, 300),
    ("UpdateChannelPartial", "PATCH", CHANNEL, channel_updates.update_channel_partial, 300),
    (
        "UpdateMemberPartial",
        "PATCH",
        CHANNEL + "/member",
        member_updates.update_member_partial,
        300,
    ),
    (
        "UpdateMemberPartial",
        "PATCH",
        CHANNEL + "/member/{user_id}",
        member_updates.update_member_partial,
        300,
    ),
    ("DeleteChannel", "DELETE", CHANNEL, channel_removal.delete_channel, 60),
    ("TruncateChannel", "POST", CHANNEL + "/truncate", truncation.truncate_channel, 60),
    ("HideChannel", "POST", CHANNEL + "/hide", hiding.hide_channel, 300),
    ("ShowChannel", "POST", CHANNEL + "/show", hiding.show_channel, 300),
    ("SendMessage", "POST", CHANNEL + "/message", messages.send_message, 10_000),
    ("GetManyMessages", "GET", CHANNEL + "/messages", message_queries.get_many_messages, 10_000),
    ("GetPinnedMessages", "GET", CHANNEL + "/pinned_messages", pins.get_pinned_messages, 10_000),
    ("SendEvent", "POST", CHANNEL + "/event", live_events.send_event, 10_000),
    ("MarkUnread", "POST", CHANNEL + "/unread", unreading.mark_unread, 10_000),
    ("MarkRead", "POST", CHANNEL + "/read", reading.mark_read, 10_000),
    ("DeleteChannelFile", "DELETE", CHANNEL + "/file", uploads.delete_file, 1_000),
    ("DeleteChannelImage", "DELETE", CHANNEL + "/image", uploads.delete_file, 1_000),
    (
        "StopWatchingChannel",
        "POST",
        CHANNEL + "/stop-watching",
        watching.stop_watching_channel,
        None,
    ),
    # Messages
    ("GetMessage", "GET", MESSAGE, message_queries.get_message, 10_000),
    ("UpdateMessage", "POST", MESSAGE, message_changes.update_message, 10_000),
    ("UpdateMessagePartial", "PUT", MESSAGE, message_changes.update_message_partial, 10_000),
    ("DeleteMessage", "DELETE", MESSAGE, message_changes.delete_message, 10_000),
    ("GetReplies", "GET", MESSAGE + "/replies", replies.get_replies, 10_000),
    ("SendReaction", "POST", MESSAGE + "/reaction", reactions.send_reaction, 10_000),
    (
        "DeleteReaction",
        "DELETE",
        MESSAGE + "/reaction/{reaction_type}",
        reactions.delete_reaction,
        10_000,
    ),
    ("GetReactions", "GET", MESSAGE + "/reactions", reactions.get_reactions, 10_000),
    ("QueryReactions", "POST", MESSAGE + "/reactions", reactions.query_reactions, 10_000),
    # What was missed: unread, threads, search
    ("GetThread", "GET", "/threads/{message_id}", threads.get_thread, 10_000),
    ("QueryThreads", "POST", "/threads", threads.query_threads, 10_000),
    ("UnreadCounts", "GET", "/unread", unreading.get_unread, 10_000),
    ("Search", "GET", "/search", search.search, 10_000),
    ("Sync", "POST", "/sync", sync.sync, 10_000),
)
OF_FILES: tuple[Row, ...] = (
    # Channels
    ("UploadChannelFile", "POST", CHANNEL + "/file", uploads.upload_file, 1_000),
    ("UploadChannelImage", "POST", CHANNEL + "/image", uploads.upload_image, 1_000),
)
OPERATIONS = [
    *(Operation(*row) for row in OF_SERVERS),
    *(Operation(*row, client_side=True) for row in OF_CLIENTS_TOO),
    *(Operation(*row, client_side=True, is_upload=True) for row in OF_FILES),
]
OPERATION_NAMES = {operation.name for operation in OPERATIONS}


def documented_limits() -> dict[str, Limit]:
    return {
        operation.name: Limit(operation.calls_per_minute, window_s=60)
        for operation in OPERATIONS
        if operation.calls_per_minute
    }
