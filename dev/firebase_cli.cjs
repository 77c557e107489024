// Loaded into the Firebase CLI before its own code; not into functions in Node, which it starts.
if (process.env.FUNCTIONS_EMULATOR) return;

// Its Functions emulator keeps connections to the functions' servers for later requests. Those
// servers, gunicorn's, close a connection after two idle seconds: a request that is sent at that
// moment fails with "socket hang up", and the event in it is lost.
const http = require("node:http");
http.globalAgent = new http.Agent({ keepAlive: false });

// Its Auth emulator compiles the check of each request that there is when it starts, which takes as
// long as all the rest of the CLI's start: only those that come need it.
const exegesis = require("exegesis-express");
const { middleware } = exegesis;
exegesis.middleware = (api, options) =>
  middleware(api, { ...options, lazyCompileValidationSchemas: true });
