// What a team writes by hand from Stream's documentation, as Stream's own extension does it: no
// checks, no repair, no outbox, no limits kept. The lock of the whole repository has the versions.

const { initializeApp } = require("firebase-admin/app");
const { auth } = require("firebase-functions/v1");
const { HttpsError, onCall } = require("firebase-functions/v2/https");
const { StreamChat } = require("stream-chat");

initializeApp();

const { STREAM_API_KEY, STREAM_API_SECRET, STREAM_BASE_URL } = process.env;
const chat = StreamChat.getInstance(STREAM_API_KEY, STREAM_API_SECRET, {
  baseURL: STREAM_BASE_URL,
});

exports.createStreamUser = auth
  .user()
  .onCreate(({ uid, displayName, email, photoURL }) =>
    chat.upsertUser({ id: uid, name: displayName, email, image: photoURL }),
  );

exports.deleteStreamUser = auth.user().onDelete(({ uid }) => chat.deleteUser(uid));

exports.getStreamUserToken = onCall({ region: "asia-south1" }, ({ auth }) => {
  if (!auth) throw new HttpsError("unauthenticated", "Sign in first.");
  return chat.createToken(auth.uid, undefined, Math.floor(Date.now() / 1000));
});
