// Plays one scene of the app in Node: node node.mjs <<< '{"scene": ..., ...}'

import { readFileSync } from "node:fs";
import { play } from "./app.mjs";

console.log(JSON.stringify(await play(JSON.parse(readFileSync(0, "utf8")))));
// The SDKs' timers would keep the process for a while.
process.exit(0);
