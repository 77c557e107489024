// Loaded into the Firebase CLI, whose Functions emulator keeps connections to the functions' servers
// for later requests. Those servers, gunicorn's, close a connection after two idle seconds: a request
// that is sent at that moment fails with "socket hang up", and the event in it is lost.
const http = require("node:http");
http.globalAgent = new http.Agent({ keepAlive: false });
