// An app with a chat, written with the official SDKs. It runs in Node and in a web page.
//
// play() plays one scene with the people in it, and returns what their apps saw.

import { deleteApp, initializeApp } from "firebase/app";
import {
  connectAuthEmulator,
  createUserWithEmailAndPassword,
  inMemoryPersistence,
  initializeAuth,
  signInWithCustomToken,
  updateProfile,
} from "firebase/auth";
import { connectFunctionsEmulator, getFunctions, httpsCallable } from "firebase/functions";
import { StreamChat } from "stream-chat";
import { openChat } from "../../../examples/web/open_chat.mjs";

const DEADLINE_MS = 60_000;

/** The app in somebody's hands, who is not signed in yet. */
class App {
  constructor(local) {
    this.local = local;
    const config = { apiKey: "any", projectId: local.project };
    this.firebase = initializeApp(config, crypto.randomUUID());
    // Without this, all apps of a page would keep their people in the same place.
    this.auth = initializeAuth(this.firebase, { persistence: inMemoryPersistence });
    connectAuthEmulator(this.auth, local.auth, { disableWarnings: true });
    this.functions = getFunctions(this.firebase, local.region);
    connectFunctionsEmulator(this.functions, local.host, local.functionsPort);
  }

  async signUp(displayName) {
    const email = `${crypto.randomUUID()}@example.com`;
    const { user } = await createUserWithEmailAndPassword(this.auth, email, "correct horse");
    // This SDK has no sign-up with a name: the functions hear of somebody who has none yet.
    await updateProfile(user, { displayName });
    return this;
  }

  async signIn(customToken) {
    await signInWithCustomToken(this.auth, customToken);
    return this;
  }

  get uid() {
    return this.auth.currentUser.uid;
  }

  async call(name, data) {
    const call = httpsCallable(this.functions, name, { timeout: DEADLINE_MS });
    return (await call(data)).data;
  }

  async connect(details = {}) {
    const { token, streamUserId, apiKey } = await this.call("getStreamUserToken");
    this.chat = new StreamChat(apiKey, {
      baseURL: this.local.stream,
      timeout: DEADLINE_MS,
      allowServerSideConnect: true, // Node is no server here
    });
    await this.chat.connectUser({ id: streamUserId, ...details }, token);
    return this.chat;
  }

  /** A channel as it is when somebody opens it. */
  async open(cid) {
    const channel = this.chat.channel(...cid.split(":"));
    await channel.watch();
    return channel;
  }

  async close() {
    await this.chat?.disconnectUser();
    await deleteApp(this.firebase);
  }
}

/** The next message in a channel, however soon after this call it comes. */
function nextMessage(channel) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("no message came")), DEADLINE_MS);
    channel.on("message.new", ({ message }) => {
      clearTimeout(timer);
      resolve(message);
    });
  });
}

async function refusal(promise) {
  try {
    await promise;
  } catch (error) {
    const { code, message, details, status } = error;
    return { code, message, details, status };
  }
  throw new Error("was not refused");
}

function namesIn(channel) {
  return Object.values(channel.state.members)
    .map(({ user }) => user.name)
    .sort();
}

const scenes = {
  /** Ann's app opens a chat itself, and repairs Lena, who is missing in Stream. */
  async repair(app, { lena }) {
    const ann = await app().signUp("Ann");
    const chat = await ann.connect();
    const channel = chat.channel("messaging", { members: [ann.uid, lena.uid] });
    const refused = await refusal(channel.watch());
    const repaired = await ann.call("ensureStreamUser", { userId: lena.uid });
    await channel.watch();
    const { message } = await channel.sendMessage({ text: "hello" });
    return { refused, repaired, names: namesIn(channel), sent: message.text };
  },

  /** Ann's app opens a chat as docs/callables.md says, and tries again while it can help. */
  async loop(app, { lena }) {
    const ann = await app().signUp("Ann");
    const chat = await ann.connect();
    const asked = [];
    const call = (name, data) => asked.push(data.userIds) && ann.call(name, data);
    const channel = await openChat(chat, call, [lena.uid]);
    const nobody = await refusal(openChat(chat, call, ["nobody-at-all"]));
    return { asked, names: namesIn(channel), nobody: nobody.message };
  },

  /** The same, while Stream fails: the first repair is not possible. */
  async outageInLoop(app, { lena }, local) {
    const ann = await app().signUp("Ann");
    const chat = await ann.connect();
    const fault = { operation: "UpdateUsers", kind: "status", status: 503, times: 4 };
    await fetch(`${local.stream}/_control/faults`, { method: "POST", body: JSON.stringify(fault) });
    const channel = await openChat(chat, (name, data) => ann.call(name, data), [lena.uid]);
    return namesIn(channel);
  },

  /** Lena signs in by a custom token, of which no event tells, and opens the chat. */
  async firstToken(app, { lena }) {
    const hers = await app().signIn(lena.token);
    const chat = await hers.connect();
    return { uid: hers.uid, name: chat.user.name };
  },

  /** Lena's app connects as some SDKs do that know no name: with the id in its place. */
  async nameless(app, { lena }) {
    const hers = await app().signIn(lena.token);
    const chat = await hers.connect({ name: lena.uid });
    return chat.user.name;
  },

  /** Ann starts a conversation with Lena, who is there as well and hears her. */
  async conversation(app, { lena }) {
    const ann = await app().signUp("Ann");
    const started = await ann.call("createConversation", { participantIds: [lena.uid] });
    const other = await app().signIn(lena.token);
    for (const one of [ann, other]) {
      await one.connect();
    }
    const mine = await ann.open(started.cid);
    const hers = await other.open(started.cid);
    const heard = nextMessage(hers);
    await mine.sendMessage({ text: "hello" });
    const { text, user } = await heard;
    const listed = await other.chat.queryChannels({ members: { $in: [lena.uid] } });
    return {
      uid: ann.uid,
      started,
      names: namesIn(hers),
      heard: [user.name, text],
      listed: listed.map(({ cid }) => cid),
    };
  },

  /** What apps see when they ask for what they can't have. */
  async refusals(app, { lena }) {
    const stranger = app();
    const signedIn = await app().signIn(lena.token);
    let nested = {};
    for (let level = 0; level < 30; level++) {
      nested = { nested };
    }
    return {
      stranger: await refusal(stranger.call("ensureStreamUser", { userId: lena.uid })),
      nobody: await refusal(signedIn.call("ensureStreamUser", { userId: "nobody" })),
      alone: await refusal(signedIn.call("createConversation", { participantIds: [] })),
      nested: await refusal(signedIn.call("ensureStreamUser", nested)),
    };
  },

  /** Lena asks for Mia while Stream is down. */
  async outage(app, { lena, mia }) {
    const signedIn = await app().signIn(lena.token);
    return await refusal(signedIn.call("ensureStreamUser", { userId: mia.uid }));
  },
};

export async function play({ scene, local, people }) {
  const apps = [];
  const app = () => apps[apps.push(new App(local)) - 1];
  try {
    return await scenes[scene](app, people, local);
  } finally {
    await Promise.all(apps.map((one) => one.close()));
  }
}
