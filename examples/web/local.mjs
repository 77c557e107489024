// What is local here: an app of yours has its Firebase options instead, and imports nobody.

export const LOCAL = {
  project: "demo-chatsync",
  region: "asia-south1",
  auth: "http://127.0.0.1:9099",
  functions: ["127.0.0.1", 5001],
  stream: "http://127.0.0.1:3030",
};

export const PASSWORD = "correct horse";

/** A name, and an id and an e-mail address that nobody had before. */
export function somebody(name) {
  const uid = `${name.toLowerCase()}-${crypto.randomUUID().slice(0, 4)}`;
  return { name, uid, email: `${uid}@example.com` };
}

/** Makes an account as an import does: Firebase sends no event, so Stream hears nothing of it. */
export async function importAccount({ name, uid, email }) {
  const account = {
    localId: uid,
    email,
    displayName: name,
    passwordHash: `fakeHash:salt=none:password=${PASSWORD}`, // the Auth emulator's kind of hash
    salt: "none",
  };
  const url = `${LOCAL.auth}/identitytoolkit.googleapis.com/v1/projects/${LOCAL.project}`;
  await fetch(`${url}/accounts:batchCreate`, {
    method: "POST",
    headers: { Authorization: "Bearer owner", "Content-Type": "application/json" },
    body: JSON.stringify({ users: [account] }),
  });
}
