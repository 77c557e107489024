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
