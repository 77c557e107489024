// Stream's React UI as an app has it, for whom the address names: ?user=ann&token=...&url=...

import { useEffect, useState } from "react";
import { createRoot } from "react-dom/client";
import { StreamChat } from "stream-chat";
import {
  Channel,
  ChannelHeader,
  ChannelList,
  Chat,
  MessageComposer,
  MessageList,
  Thread,
  Window,
} from "stream-chat-react";
import "stream-chat-react/dist/css/index.css";

const { user, token, url } = Object.fromEntries(new URLSearchParams(location.search));
const FILTERS = { type: "messaging", members: { $in: [user] } };
const SORT = { last_message_at: -1 };
const OPTIONS = { state: true, watch: true, presence: true };

const client = new StreamChat("local-key");
client.setBaseURL(url);

function App() {
  const [counts, setCounts] = useState([]);
  useEffect(() => {
    client.on(({ me, total_unread_count = me?.total_unread_count }) => {
      if (total_unread_count !== undefined) {
        setCounts((before) => [...before, total_unread_count]);
      }
    });
    client.connectUser({ id: user }, token);
  }, []);
  if (!counts.length) {
    return null;
  }
  return (
    <Chat client={client}>
      <ChannelList filters={FILTERS} sort={SORT} options={OPTIONS} />
      <Channel>
        <Window>
          <ChannelHeader />
          <MessageList />
          <MessageComposer />
        </Window>
        <Thread />
      </Channel>
      <p data-counts={counts.join(" ")}>{counts.at(-1)} unread in all</p>
    </Chat>
  );
}

createRoot(document.getElementById("root")).render(<App />);
