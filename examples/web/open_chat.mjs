const TRIES = 3;
const PASSING = ["unavailable", "resource-exhausted"];
const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

/** Opens a chat. If Stream doesn't know a member, repairs the members and tries again. */
export async function openChat(chat, call, uids) {
  for (let attempt = 1; ; attempt++) {
    const channel = chat.channel("messaging", { members: [chat.userID, ...uids] });
    try {
      await channel.watch();
      return channel;
    } catch (error) {
      // Code 4: "users are involved in channel create operation, but don't exist".
      if (attempt === TRIES || error.code !== 4 || !error.message.includes("don't exist")) {
        throw error;
      }
    }
    const { results } = await call("ensureStreamUser", { userIds: uids });
    const gone = results.filter((one) => one.error && !PASSING.includes(one.error.code));
    if (gone.length) {
      throw new Error(`no chat with ${gone.map((one) => one.userId)}`, { cause: gone });
    }
    await pause(attempt);
  }
}
