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


@dataclass(frozen=True)
class Operation:
    name: str
    method: str
    path: str
    handler: Callable[[State, Json, Json], Json] | None = None
    # Stream's documented limit for servers. Assumed for the calls on messages, events, reading,
    # bans and tasks, and for UpdateChannelPartial, DeleteChannels and RestoreUsers.
    calls_per_minute: int | None = None
    client_side: bool = False
    """Whether a user's own client may call it, too."""
    is_upload: bool = False
    """Whether its body is a form with a file, and no JSON."""


OPERATIONS = [
    Operation("GetApp", "GET", "/app", application.get_app, 10_000, client_side=True),
    Operation("UpdateApp", "PATCH", "/app", application.update_app, 60),
    Operation("GetRateLimits", "GET", "/rate_limits", application.get_rate_limits),
    Operation("GetTask", "GET", "/tasks/{task_id}", tasks.get_task, 60),
    Operation("UpdateUsers", "POST", "/users", users.update_users, 300, client_side=True),
    Operation(
        "UpdateUsersPartial", "PATCH", "/users", users.update_users_partial, 300, client_side=True
    ),
    Operation("QueryUsers", "GET", "/users", queries.query_users, 1_000, client_side=True),
    *(
        Operation(name, method, path, handler, 300, client_side=True)
        for name, method, path, handler in (
            ("BlockUsers", "POST", "/users/block", blocking.block_user),
            ("UnblockUsers", "POST", "/users/unblock", blocking.unblock_user),
            ("GetBlockedUsers", "GET", "/users/block", blocking.get_blocked_users),
        )
    ),
    Operation("DeleteUser", "DELETE", "/users/{user_id}", user_removal.delete_user, 60),
    Operation("DeleteUsers", "POST", "/users/delete", user_removal.delete_users, 6),
    Operation("RestoreUsers", "POST", "/users/restore", user_removal.restore_users, 60),
    Operation("DeactivateUsers", "POST", "/users/deactivate", user_removal.deactivate_users, 60),
    Operation("ReactivateUsers", "POST", "/users/reactivate", user_removal.reactivate_users, 60),
    Operation(
        "DeactivateUser", "POST", "/users/{user_id}/deactivate", user_removal.deactivate_user, 60
    ),
    Operation(
        "ReactivateUser", "POST", "/users/{user_id}/reactivate", user_removal.reactivate_user, 60
    ),
    *(
        Operation(name, method, path, handler, 300, client_side=True)
        for name, method, path, handler in (
            ("Ban", "POST", "/moderation/ban", moderation.ban),
            ("Unban", "DELETE", "/moderation/ban", moderation.unban),
            ("QueryBannedUsers", "GET", "/query_banned_users", ban_queries.query_banned_users),
        )
    ),
    Operation(
        "QueryMessageFlags", "GET", "/moderation/flags/message", flags.query_message_flags, 300
    ),
    *(
        Operation(name, method, "/devices", handler, 300, client_side=True)
        for name, method, handler in (
            ("CreateDevice", "POST", devices.create_device),
            ("ListDevices", "GET", devices.list_devices),
            ("DeleteDevice", "DELETE", devices.delete_device),
        )
    ),
    *(
        Operation(name, "POST", "/moderation" + path, handler, 300, client_side=True)
        for name, path, handler in (
            ("Mute", "/mute", mutes.mute_users),
            ("Unmute", "/unmute", mutes.unmute_users),
            ("Flag", "/flag", flags.flag),
            ("Unflag", "/unflag", flags.unflag),
            ("MuteChannel", "/mute/channel", mutes.mute_channels),
            ("UnmuteChannel", "/unmute/channel", mutes.unmute_channels),
        )
    ),
    Operation(
        "QueryChannels",
        "POST",
        "/channels",
        channel_queries.query_channels,
        10_000,
        client_side=True,
    ),
    Operation(
        "QueryMembers", "GET", "/members", channel_queries.query_members, 300, client_side=True
    ),
    *(
        Operation(name, method, path, handler, 10_000, client_side=True)
        for name, method, path, handler in (
            ("MarkDelivered", "POST", "/channels/delivered", reading.mark_delivered),
            ("MarkChannelsRead", "POST", "/channels/read", reading.mark_all_read),
            ("GetThread", "GET", "/threads/{message_id}", threads.get_thread),
            ("QueryThreads", "POST", "/threads", threads.query_threads),
            ("UnreadCounts", "GET", "/unread", unreading.get_unread),
            ("Search", "GET", "/search", search.search),
            ("Sync", "POST", "/sync", sync.sync),
        )
    ),
    Operation("UnreadCountsBatch", "POST", "/unread_batch", unreading.get_unread_batch, 10_000),
    Operation("DeleteChannels", "POST", "/channels/delete", channel_removal.delete_channels, 60),
    Operation(
        "UndeleteMessage",
        "POST",
        "/messages/{message_id}/undelete",
        message_changes.undelete_message,
        10_000,
    ),
    # By members, and by id.
    *(
        Operation(
            "GetOrCreateChannel",
            "POST",
            path,
            channel_creation.get_or_create_channel,
            10_000,
            client_side=True,
        )
        for path in ("/channels/{type}/query", "/channels/{type}/{id}/query")
    ),
    *(
        Operation(name, method, "/channels/{type}/{id}" + path, handler, limit, client_side=True)
        for name, method, path, handler, limit in (
            ("UpdateChannel", "POST", "", channel_updates.update_channel, 300),
            ("UpdateChannelPartial", "PATCH", "", channel_updates.update_channel_partial, 300),
            *(
                ("UpdateMemberPartial", "PATCH", path, member_updates.update_member_partial, 300)
                for path in ("/member", "/member/{user_id}")
            ),
            ("DeleteChannel", "DELETE", "", channel_removal.delete_channel, 60),
            ("TruncateChannel", "POST", "/truncate", truncation.truncate_channel, 60),
            ("HideChannel", "POST", "/hide", hiding.hide_channel, 300),
            ("ShowChannel", "POST", "/show", hiding.show_channel, 300),
            ("SendMessage", "POST", "/message", messages.send_message, 10_000),
            ("GetManyMessages", "GET", "/messages", message_queries.get_many_messages, 10_000),
            ("GetPinnedMessages", "GET", "/pinned_messages", pins.get_pinned_messages, 10_000),
            ("SendEvent", "POST", "/event", live_events.send_event, 10_000),
            ("MarkUnread", "POST", "/unread", unreading.mark_unread, 10_000),
            ("MarkRead", "POST", "/read", reading.mark_read, 10_000),
            ("DeleteChannelFile", "DELETE", "/file", uploads.delete_file, 1_000),
            ("DeleteChannelImage", "DELETE", "/image", uploads.delete_file, 1_000),
            ("StopWatchingChannel", "POST", "/stop-watching", watching.stop_watching_channel, None),
        )
    ),
    *(
        Operation(
            name, "POST", "/channels/{type}/{id}" + path, handler, 1_000, True, is_upload=True
        )
        for name, path, handler in (
            ("UploadChannelFile", "/file", uploads.upload_file),
            ("UploadChannelImage", "/image", uploads.upload_image),
        )
    ),
    *(
        Operation(name, method, "/messages/{message_id}" + path, handler, limit, client_side=True)
        for name, method, path, handler, limit in (
            ("GetMessage", "GET", "", message_queries.get_message, 10_000),
            ("UpdateMessage", "POST", "", message_changes.update_message, 10_000),
            ("UpdateMessagePartial", "PUT", "", message_changes.update_message_partial, 10_000),
            ("DeleteMessage", "DELETE", "", message_changes.delete_message, 10_000),
            ("GetReplies", "GET", "/replies", replies.get_replies, 10_000),
            ("SendReaction", "POST", "/reaction", reactions.send_reaction, 10_000),
            (
                "DeleteReaction",
                "DELETE",
                "/reaction/{reaction_type}",
                reactions.delete_reaction,
                10_000,
            ),
            ("GetReactions", "GET", "/reactions", reactions.get_reactions, 10_000),
            ("QueryReactions", "POST", "/reactions", reactions.query_reactions, 10_000),
        )
    ),
]
OPERATION_NAMES = {operation.name for operation in OPERATIONS}


def documented_limits() -> dict[str, Limit]:
    return {
        operation.name: Limit(operation.calls_per_minute, window_s=60)
        for operation in OPERATIONS
        if operation.calls_per_minute
    }
