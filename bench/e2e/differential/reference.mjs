// The reference: npm's engine.io at /engine.io/ and socket.io at /socket.io/, with the
// handlers that the published test suites talk to, as `homing bench socketio` has them.
//
//   node reference.mjs '{"pingInterval":25000,"pingTimeout":20000,"connectTimeout":45000}'
//
// It prints its port.
import { createServer } from "node:http";
import { Server as EngineServer } from "engine.io";
import { Server as SocketServer } from "socket.io";

const times = JSON.parse(process.argv[2]);
const cors = { origin: true, credentials: true }; // as Homing has it: the page's origin, with credentials
const options = { ...times, cors, maxHttpBufferSize: 1_000_000, destroyUpgrade: false };

const http = createServer((req, res) => res.writeHead(404).end());

const engine = new EngineServer(options);
engine.attach(http, { path: "/engine.io", destroyUpgrade: false });
engine.on("connection", (socket) => socket.on("data", (data) => socket.send(data)));

const io = new SocketServer(http, { ...options, path: "/socket.io" });
for (const namespace of [io.of("/"), io.of("/custom")]) {
  namespace.on("connection", (socket) => {
    socket.emit("auth", socket.handshake.auth);
    socket.on("message", (...args) => socket.emit("message-back", ...args));
    socket.on("message-with-ack", (...args) => args.pop()(...args));
  });
}

http.listen(0, "127.0.0.1", () => console.log(http.address().port));
process.stdin.resume().on("end", () => process.exit(0)); // it ends with whoever started it
