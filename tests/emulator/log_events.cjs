// Loaded into the Firebase CLI, whose Functions emulator logs that a function runs, but not about
// which document: this logs it, when the event goes to the function.
const http = require("node:http");
const { request } = http;
http.request = (options, ...others) => {
  const document = options.headers?.["ce-document"];
  if (document) console.log(`Event of ${document}`);
  return request(options, ...others);
};
