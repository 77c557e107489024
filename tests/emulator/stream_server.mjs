// Plays one scene with Stream's JS SDK, as a web app would, and prints what came of it as JSON.
//
//     STREAM_LOCAL_TEST_HOST=127.0.0.1:3030 node stream_server.mjs <scene> <<< '{"ann": "<token>"}'
//
// The environment variable is the SDK's own: it makes this host take the place of Stream.

import { readFileSync } from "node:fs";
import { StreamChat } from "stream-chat";

const KEY = "local-key";
const DEADLINE_MS = 30_000;

const clients = [];

async function connected(userId, tokenOrProvider, details = {}) {
  const client = new StreamChat(KEY, { allowServerSideConnect: true, timeout: DEADLINE_MS });
  clients.push(client);
  await client.connectUser({ id: userId, ...details }, tokenOrProvider);
  return client;
}

/** The next event of a type, however soon after this call it comes. */
function next(emitter, type) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no ${type} came`)), DEADLINE_MS);
    emitter.on(type, (event) => {
      clearTimeout(timer);
      resolve(event);
    });
  });
}

async function refusal(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("was not refused");
}

/** Ann and Bea, and channel c1 as each of them watches it. */
async function both(tokens) {
  const ann = await connected("ann", tokens.ann);
  const bea = await connected("bea", tokens.bea);
  const hers = bea.channel("messaging", "c1");
  await hers.watch();
  const mine = ann.channel("messaging", "c1");
  await mine.watch();
  return { ann, bea, mine, hers };
}

const scenes = {
  async connect(tokens) {
    const client = await connected("ann", tokens.ann, { name: "Ann", shoe_size: 43 });
    const { id, name, shoe_size, online } = client.user;
    return { id, name, shoe_size, online, hasConnection: client._hasConnectionID() };
  },

  async refused(tokens) {
    // The SDK hands over what it heard from the server as JSON in the message.
    return JSON.parse((await refusal(connected("ann", tokens.ann))).message);
  },

  async refreshed(tokens) {
    const offered = [tokens.old, tokens.ann];
    const client = await connected("ann", async () => offered.shift());
    return { id: client.user.id, left: offered.length };
  },

  async expiredLater(tokens) {
    const client = await connected("ann", tokens.ann);
    client.tokenManager.token = tokens.old;
    const error = await refusal(client.queryChannels({ type: "messaging" }));
    return { code: error.code, status: error.status };
  },

  async talk(tokens) {
    const ann = await connected("ann", tokens.ann);
    const bea = await connected("bea", tokens.bea);
    const hers = bea.channel("messaging", "c1");
    const state = await hers.watch();
    const heard = next(hers, "message.new");
    const mine = ann.channel("messaging", "c1");
    await mine.watch();
    const sent = await mine.sendMessage({ text: "hello" });
    const { message, user, cid } = await heard;
    const read = await hers.markRead();
    return {
      cid,
      members: state.members.map((member) => member.user_id),
      text: message.text,
      sender: user.id,
      isTheSame: message.id === sent.message.id,
      kept: hers.state.messages.map((one) => one.text),
      unread: hers.countUnread(),
      read: read.event.type,
    };
  },

  async query(tokens) {
    const ann = await connected("ann", tokens.ann);
    const filter = { type: "messaging", members: { $in: ["ann"] } };
    const channels = await ann.queryChannels(filter, { last_message_at: -1 }, { limit: 30 });
    const { members } = await channels[0].queryMembers({ user_id: "bea" });
    const { users } = await ann.queryUsers({ id: { $in: ["bea"] } });
    return {
      ids: channels.map((channel) => channel.id),
      names: channels.map((channel) => channel.data.name),
      counts: channels.map((channel) => Object.keys(channel.state.members).length),
      found: [members[0].user_id, users[0].id],
    };
  },

  async create(tokens) {
    const ann = await connected("ann", tokens.ann);
    const bea = await connected("bea", tokens.bea);
    const added = next(bea, "notification.added_to_channel");
    const distinct = ann.channel("messaging", { members: ["ann", "bea"] });
    await distinct.watch();
    const event = await added;
    const ghost = ann.channel("messaging", "c2", { members: ["ann", "ghost"] });
    const { code, status, message } = await refusal(ghost.create());
    return { cid: distinct.cid, told: event.channel.cid, ghost: { code, status, message } };
  },

  async page(tokens) {
    const ann = await connected("ann", tokens.ann);
    const channel = ann.channel("messaging", "c1");
    await channel.watch({ messages: { limit: 3 } });
    const newest = channel.state.messages.map((one) => one.id);
    const { messages: older } = await channel.query({ messages: { limit: 3, id_lt: newest[0] } });
    await channel.state.loadMessageIntoState("m1", undefined, 3);
    const { hasPrev, hasNext } = channel.state.messagePagination;
    return {
      newest,
      older: older.map((one) => one.id),
      first: channel.state.messages.map((one) => one.id),
      hasPrev,
      hasNext,
    };
  },

  async deliver(tokens) {
    const ann = await connected("ann", tokens.ann);
    const bea = await connected("bea", tokens.bea);
    await bea.channel("messaging", "c1").watch();
    const mine = ann.channel("messaging", "c1");
    await mine.watch();
    const delivered = next(mine, "message.delivered");
    const { message } = await mine.sendMessage({ text: "hello" });
    const { user, last_delivered_message_id } = await delivered;
    return { to: user.id, isTheSame: last_delivered_message_id === message.id };
  },

  async thread(tokens) {
    const ann = await connected("ann", tokens.ann);
    const bea = await connected("bea", tokens.bea);
    const mine = ann.channel("messaging", "c1");
    await mine.watch();
    const { message: parent } = await mine.sendMessage({ text: "question" });
    const hers = bea.channel("messaging", "c1");
    await hers.watch();
    const counted = next(mine, "message.updated");
    const told = next(ann, "notification.thread_message_new");
    await hers.sendMessage({ text: "answer", parent_id: parent.id });
    await counted;
    const { messages } = await mine.getReplies(parent.id, { limit: 10 });
    const quoted = next(mine, "message.new");
    const { message: quote } = await mine.sendMessage({
      text: "thanks",
      quoted_message_id: parent.id,
    });
    await quoted;
    return {
      main: mine.state.messages.map((one) => [one.text, one.reply_count]),
      replies: messages.map((one) => one.text),
      kept: mine.state.threads[parent.id].map((one) => one.text),
      unreadThreads: (await told).unread_threads,
      found: (await ann.queryThreads()).threads.map((one) => [one.id, one.ownUnreadCount]),
      parent: parent.id,
      quoted: quote.quoted_message.text,
    };
  },

  async presence(tokens) {
    const bea = await connected("bea", tokens.bea);
    const hers = bea.channel("messaging", "c1");
    await hers.watch({ presence: true });
    const online = next(bea, "user.presence.changed");
    const watches = new Promise((resolve) => {
      hers.on("user.watching.start", (event) => event.user.id === "ann" && resolve());
    });
    const ann = await connected("ann", tokens.ann);
    await ann.channel("messaging", "c1").watch();
    await watches;
    const { user } = await online;
    const watchers = Object.keys(hers.state.watchers).sort();
    const offline = next(bea, "user.presence.changed");
    const stopped = next(hers, "user.watching.stop");
    await ann.disconnectUser();
    await stopped;
    return {
      online: [user.id, user.online],
      watchers,
      offline: (await offline).user.online,
      left: Object.keys(hers.state.watchers),
      count: hers.state.watcher_count,
    };
  },

  async unreadAgain(tokens) {
    const bea = await connected("bea", tokens.bea);
    const hers = bea.channel("messaging", "c1");
    await hers.watch();
    await hers.markRead();
    const marked = next(bea, "notification.mark_unread");
    await hers.markUnread({ message_id: "m2" });
    await marked;
    const counted = hers.countUnread();
    const { channels } = await bea.getUnreadCount();
    const cleared = next(bea, "notification.mark_read");
    await bea.markChannelsRead();
    await cleared;
    return { counted, asked: channels[0].unread_count, left: hers.countUnread() };
  },

  async restricted(tokens) {
    const ann = await connected("ann", tokens.ann);
    const channel = ann.channel("messaging", "c1");
    await channel.watch();
    const error = await refusal(channel.sendMessage({ text: "hi" }));
    const settings = await ann.getAppSettings();
    return {
      code: error.code,
      maySend: channel.data.own_capabilities.includes("send-message"),
      uploads: settings.app.image_upload_config.size_limit > 0,
    };
  },

  async hide(tokens) {
    const ann = await connected("ann", tokens.ann);
    const channel = ann.channel("messaging", "c1");
    await channel.watch();
    const { message } = await channel.sendMessage({ text: "old" });
    const ids = async () => (await ann.queryChannels({ type: "messaging" })).map((one) => one.id);
    const hidden = next(channel, "channel.hidden");
    await channel.hide(null, true);
    await hidden;
    const after = [channel.data.hidden, channel.state.messages.length, await ids()];
    const visible = next(channel, "channel.visible");
    await channel.show();
    await visible;
    const { messages } = await channel.query({ messages: { limit: 10 } });
    return {
      after,
      shown: [channel.data.hidden, await ids()],
      left: messages.length,
      wasSent: Boolean(message.id),
    };
  },

  async truncate(tokens) {
    const { mine, hers } = await both(tokens);
    const came = next(hers, "message.new");
    await mine.sendMessage({ text: "old" });
    await came;
    const before = [hers.state.messages.length, hers.countUnread()];
    const truncated = next(hers, "channel.truncated");
    await mine.truncate({ message: { text: "all gone" } });
    await truncated;
    return {
      before,
      after: hers.state.messages.map((one) => [one.text, one.type]),
      unread: hers.countUnread(),
    };
  },

  async mute(tokens) {
    const ann = await connected("ann", tokens.ann);
    const bea = await connected("bea", tokens.bea);
    const hers = bea.channel("messaging", "c1");
    await hers.watch();
    const mutedUsers = next(bea, "notification.mutes_updated");
    await bea.muteUser("cid");
    await mutedUsers;
    const mutedChannels = next(bea, "notification.channel_mutes_updated");
    await hers.mute();
    await mutedChannels;
    const heard = next(hers, "message.new");
    await ann.channel("messaging", "c1").sendMessage({ text: "quiet" });
    await heard;
    const unread = hers.countUnread();
    const again = await connected("bea", tokens.bea);
    const known = [again.userMuteStatus("cid"), again._muteStatus("messaging:c1").muted];
    const unmuted = next(bea, "notification.channel_mutes_updated");
    await hers.unmute();
    await unmuted;
    return {
      user: bea.userMuteStatus("cid"),
      unread,
      total: again.user.total_unread_count,
      known,
      after: hers.muteStatus().muted,
    };
  },

  async pin(tokens) {
    const ann = await connected("ann", tokens.ann);
    const channel = ann.channel("messaging", "c1");
    await channel.watch();
    const pinned = next(channel, "member.updated");
    await channel.pin();
    await pinned;
    const isPinned = Boolean(channel.state.membership.pinned_at);
    const found = await ann.queryChannels({ pinned: true, archived: false }, { pinned_at: -1 });
    const unpinned = next(channel, "member.updated");
    await channel.unpin();
    await unpinned;
    const archived = next(channel, "member.updated");
    await channel.archive();
    await archived;
    const custom = await channel.updateMemberPartial({ set: { mood: "good" } });
    return {
      isPinned,
      found: found.map((one) => one.id),
      isStillPinned: Boolean(channel.state.membership.pinned_at),
      isArchived: Boolean(channel.state.membership.archived_at),
      mood: custom.channel_member.mood,
      shown: (await ann.queryChannels({ archived: false })).length,
    };
  },

  async block(tokens) {
    const ann = await connected("ann", tokens.ann);
    const pair = ann.channel("messaging", { members: ["ann", "bea"] });
    await pair.watch();
    const hidden = next(pair, "channel.hidden");
    await ann.blockUser("bea");
    await hidden;
    const { userIds } = ann.blockedUsers.getLatestValue();
    const { blocks } = await ann.getBlockedUsers();
    const again = await connected("ann", tokens.ann);
    const visible = next(pair, "channel.visible");
    const state = [pair.data.hidden, pair.data.blocked];
    await ann.unBlockUser("bea");
    await visible;
    return {
      userIds,
      blocks: blocks.map((one) => one.blocked_user_id),
      known: again.blockedUsers.getLatestValue().userIds,
      state,
      after: [pair.data.hidden, pair.data.blocked],
    };
  },

  async invite(tokens) {
    const ann = await connected("ann", tokens.ann);
    const cid = await connected("cid", tokens.cid);
    const mine = ann.channel("messaging", "c1");
    await mine.watch();
    const invited = next(cid, "notification.invited");
    const joined = next(mine, "member.added");
    await mine.inviteMembers(["cid"]);
    const { channel } = await invited;
    await joined;
    const pending = await cid.queryChannels({ invite: "pending" });
    const accepted = next(mine, "notification.invite_accepted");
    const updated = next(mine, "member.updated");
    await pending[0].acceptInvite({ message: { text: "cid joined" } });
    await accepted;
    await updated;
    return {
      told: channel.cid,
      pending: pending.map((one) => one.id),
      status: mine.state.members.cid.status,
      left: (await cid.queryChannels({ invite: "pending" })).length,
    };
  },

  async find(tokens) {
    const ann = await connected("ann", tokens.ann);
    const channel = ann.channel("messaging", "c1");
    const { channel: created } = await channel.watch();
    const { message } = await channel.sendMessage({ text: "a needle in the hay" });
    await channel.sendMessage({ text: "only hay" });
    const inChannel = await channel.search("needle");
    const everywhere = await ann.search({ members: { $in: ["ann"] } }, { text: "hay" }, {
      sort: { created_at: -1 },
      limit: 1,
    });
    const { events } = await ann.sync(["messaging:c1"], created.created_at);
    const flag = await ann.flagMessage(message.id);
    await ann.addDevice("d1", "firebase");
    const { devices } = await ann.getDevices();
    return {
      inChannel: inChannel.results.map((one) => one.message.text),
      everywhere: everywhere.results.map((one) => one.message.text),
      more: Boolean(everywhere.next),
      missed: events.filter((one) => one.type === "message.new").map((one) => one.message.text),
      flagged: flag.flag.target_message_id === message.id,
      devices: devices.map((one) => one.id),
    };
  },

  async stranger(tokens) {
    const cid = await connected("cid", tokens.cid);
    const { code, status } = await refusal(cid.channel("messaging", "c1").watch());
    return { code, status };
  },
};

const scene = scenes[process.argv[2]];
const result = await scene(JSON.parse(readFileSync(0, "utf8")));
console.log(JSON.stringify(result));
await Promise.all(clients.map((client) => client.disconnectUser()));
// The SDK's timers would keep the process for a while.
process.exit(0);
