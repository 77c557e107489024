// The story: each step is what one click does. What an app copies is in the other files.

import { useState } from "react";
import { createRoot } from "react-dom/client";
import { importAccount, PASSWORD, somebody } from "./local.mjs";
import { Chats } from "./phone.jsx";
import { Session } from "./session.mjs";
import "./style.css";

const STEPS = [
  ["Ann and Ben sign up", "Nothing of chat was called: createStreamUser ran by itself."],
  ["Ann chats with Ben", "createConversation repaired who needed it, then made the channel."],
  ["Lena is imported", "Of an import Firebase sends no event. She has an account, and no chat."],
  ["Ann opens a chat with Lena", "The crash: Stream refuses a channel with somebody it doesn't know."],
  ["Repair", "The app called ensureStreamUser for Lena, and opened the channel again."],
  ["Lena opens her app", "getStreamUserToken let her in. Type on both sides."],
];

function App() {
  const [people, setPeople] = useState({});
  const [right, setRight] = useState("Ben");
  const [crash, setCrash] = useState(null);
  const [calls, setCalls] = useState([]);
  const [done, setDone] = useState(0);
  const [isBusy, setBusy] = useState(false);
  const { Ann: ann, Ben: ben, Lena: lena } = people;

  const change = (name, changes) =>
    setPeople((all) => ({ ...all, [name]: { ...all[name], ...changes } }));
  const tell = (who, what) => setCalls((all) => [...all, `${who}: ${what}`]);

  function sessionOf(name) {
    return new Session((called, data, answer) => {
      const shown = answer.token ? { ...answer, token: "..." } : answer;
      tell(name, `${called}(${JSON.stringify(data)}) -> ${JSON.stringify(shown)}`);
    });
  }

  async function signUp(name) {
    const session = sessionOf(name);
    await session.signUp(name, somebody(name).email, PASSWORD);
    await session.connect();
    change(name, { session, isInStream: await session.isInStream(session.uid) });
  }

  const actions = [
    () => Promise.all([signUp("Ann"), signUp("Ben")]),

    async () => change("Ann", { opened: await ann.session.startConversation(ben.session.uid) }),

    async () => {
      const account = somebody("Lena");
      await importAccount(account);
      change("Lena", { account, isInStream: await ann.session.isInStream(account.uid) });
      setRight("Lena");
    },

    async () => {
      try {
        change("Ann", { opened: await ann.session.openChatNaively(lena.account.uid) });
      } catch (error) {
        setCrash(error.message);
        tell("Ann", `channel.watch() -> error, code ${error.code}`);
      }
    },

    async () => {
      change("Ann", { opened: await ann.session.openChat(lena.account.uid) });
      change("Lena", { isInStream: await ann.session.isInStream(lena.account.uid) });
      setCrash(null);
    },

    async () => {
      const session = sessionOf("Lena");
      await session.signIn(lena.account.email, PASSWORD);
      await session.connect();
      change("Lena", { session, opened: await session.open(ann.opened.cid) });
    },
  ];

  async function act() {
    setBusy(true);
    try {
      await actions[done]();
      setDone(done + 1);
    } catch (error) {
      tell("Error", error.message);
    } finally {
      setBusy(false);
    }
  }

  return (
    <>
      <header className="steps">
        <h1>Two people and a chat</h1>
        <p role="status">
          {done ? STEPS[done - 1][1] : "Each step is a click. All of it happens on this machine."}
        </p>
        <ol>
          {STEPS.map(([title], n) => (
            <li key={title}>
              <button
                className={n < done ? "done" : ""}
                disabled={n !== done || isBusy}
                onClick={act}
              >
                {title}
              </button>
            </li>
          ))}
        </ol>
      </header>
      <main className="people">
        <Phone name="Ann" person={ann} crash={crash} />
        <Phone name={right} person={people[right]}>
          {lena &&
            ["Ben", "Lena"].map((name) => (
              <button key={name} aria-pressed={name === right} onClick={() => setRight(name)}>
                {name}
              </button>
            ))}
        </Phone>
      </main>
      <ul className="calls" aria-label="What the apps called">
        {calls.slice(-4).map((call, n) => (
          <li key={n}>{call}</li>
        ))}
      </ul>
    </>
  );
}

/** One person's app; `children` choose whose it is. */
function Phone({ name, person, crash, children }) {
  return (
    <section className="phone" aria-label={`${name}'s app`}>
      <div className="title">
        <h2>{name}&rsquo;s app</h2>
        {children}
        {person && <span className="in">in Firebase</span>}
        {person && (
          <span className={person.isInStream ? "in" : "out"}>
            {person.isInStream ? "in Stream" : "not in Stream"}
          </span>
        )}
      </div>
      {crash && (
        <div className="crash" role="alert">
          <strong>The chat crashed.</strong> {crash}
        </div>
      )}
      {person?.session ? (
        <div className="chats">
          <Chats key={name} session={person.session} opened={person.opened} />
        </div>
      ) : (
        <p className="empty">{person ? "Has not opened the app yet." : "Has not signed up yet."}</p>
      )}
    </section>
  );
}

createRoot(document.getElementById("app")).render(<App />);
