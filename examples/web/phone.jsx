import { useEffect, useMemo } from "react";
import {
  Channel,
  ChannelHeader,
  ChannelList,
  Chat,
  MessageComposer,
  MessageList,
  Thread,
  useChatContext,
  Window,
} from "stream-chat-react";
import "stream-chat-react/dist/css/index.css";

const NEWEST_FIRST = { last_message_at: -1 };
const OPTIONS = { limit: 10, state: true, watch: true, presence: true };

/** The chats of a connected person. `opened` is a channel that their app has just opened. */
export function Chats({ session, opened }) {
  const { chat } = session;
  const filters = useMemo(() => ({ type: "messaging", members: { $in: [chat.userID] } }), [chat]);

  // An app needs none of this: left to itself, the list lets the people of one page share a query.
  async function addNew(setChannels, event) {
    const channel = await session.open(event.channel.cid);
    setChannels((all) => [channel, ...all.filter((one) => one !== channel)]);
  }

  return (
    <Chat client={chat} theme="str-chat__theme-light">
      <Open channel={opened} />
      <ChannelList
        filters={filters}
        sort={NEWEST_FIRST}
        options={OPTIONS}
        onAddedToChannel={addNew}
      />
      <Channel>
        <Window>
          <ChannelHeader />
          <MessageList />
          <MessageComposer />
        </Window>
        <Thread />
      </Channel>
    </Chat>
  );
}

function Open({ channel }) {
  const { setActiveChannel } = useChatContext();
  useEffect(() => {
    if (channel) {
      setActiveChannel(channel);
    }
  }, [channel, setActiveChannel]);
  return null;
}
