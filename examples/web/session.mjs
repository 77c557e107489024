import { initializeApp } from "firebase/app";
import {
  connectAuthEmulator,
  createUserWithEmailAndPassword,
  inMemoryPersistence,
  initializeAuth,
  signInWithEmailAndPassword,
  updateProfile,
} from "firebase/auth";
import { connectFunctionsEmulator, getFunctions, httpsCallable } from "firebase/functions";
import { StreamChat } from "stream-chat";
import { callAgain } from "./call_again.mjs";
import { LOCAL } from "./local.mjs";
import { openChat } from "./open_chat.mjs";

/** One person's app: Firebase and Stream. This page has several of them, an app of yours has one. */
export class Session {
  /** `onCall(name, data, answer)` hears of every call of a function. */
  constructor(onCall) {
    this.onCall = onCall;
    const options = { apiKey: "any", projectId: LOCAL.project };
    const firebase = initializeApp(options, crypto.randomUUID());
    // Without this, all people of the page would be signed in as the last one.
    this.auth = initializeAuth(firebase, { persistence: inMemoryPersistence });
    this.functions = getFunctions(firebase, LOCAL.region);
    connectAuthEmulator(this.auth, LOCAL.auth, { disableWarnings: true });
    connectFunctionsEmulator(this.functions, ...LOCAL.functions);
  }

  /** Signs up. Nothing of chat is called: createStreamUser runs in the background. */
  async signUp(displayName, email, password) {
    const { user } = await createUserWithEmailAndPassword(this.auth, email, password);
    await updateProfile(user, { displayName });
  }

  async signIn(email, password) {
    await signInWithEmailAndPassword(this.auth, email, password);
  }

  get uid() {
    return this.auth.currentUser.uid;
  }

  async call(name, data = {}) {
    const answer = await callAgain(() => httpsCallable(this.functions, name)(data));
    this.onCall(name, data, answer);
    return answer;
  }

  /** Connects to the chat. Stream's client asks for a token when it connects, and when one expires. */
  async connect() {
    const first = await this.call("getStreamUserToken");
    let unused = first.token;
    this.chat = new StreamChat(first.apiKey, { baseURL: LOCAL.stream });
    // No name, no picture: Firebase states them.
    await this.chat.connectUser({ id: first.streamUserId }, async () => {
      const token = unused ?? (await this.call("getStreamUserToken")).token;
      unused = undefined;
      return token;
    });
  }

  async isInStream(uid) {
    return (await this.chat.queryUsers({ id: uid })).users.length > 0;
  }

  /** What a new app calls: it repairs both people first, and a pair has one chat. */
  async startConversation(uid) {
    const { cid } = await this.call("createConversation", { participantIds: [uid] });
    return this.open(cid);
  }

  /** Opens a channel that exists. Who watches it is told only to those who ask. */
  async open(cid) {
    const channel = this.chat.channel(...cid.split(":"));
    await channel.watch({ watchers: { limit: 10 } });
    return channel;
  }

  /** What many apps do, and what crashes if Stream doesn't know the other. */
  async openChatNaively(uid) {
    const channel = this.chat.channel("messaging", { members: [this.uid, uid] });
    await channel.watch();
    return channel;
  }

  /** The same with the repair, for an app that makes its channels itself. */
  openChat(uid) {
    return openChat(this.chat, (name, data) => this.call(name, data), [uid]);
  }
}
