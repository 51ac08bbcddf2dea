// One Socket.IO server: players connect, prove who they are, and join the room
// named after them.
import { createServer } from "node:http";

import { createAdapter } from "@socket.io/redis-adapter";
import jwt from "jsonwebtoken";
import { Server } from "socket.io";

import { answer, connect, listen, options } from "./common.js";

const { port, redis, secret } = options("secret-file");
const pub = connect(redis);
const sub = connect(redis);

const server = createServer((req, res) => {
  const up = req.url === "/readyz" && pub.status === "ready" && sub.status === "ready";
  answer(res, up ? 200 : 503, { up });
});

const io = new Server(server, {
  adapter: createAdapter(pub, sub),
  // No polling request before each connection, and no need for a balancer that
  // keeps a client at one server.
  transports: ["websocket"],
  // The default, written down: compression costs CPU and memory per connection.
  perMessageDeflate: false,
  // No copy of the client library in memory.
  serveClient: false,
});

// The documented way to give the memory of the handshake's request back.
io.engine.on("connection", (socket) => { socket.request = null; });

io.use((socket, next) => {
  try {
    const { sub: user, topics } = jwt.verify(socket.handshake.auth.token, secret, { algorithms: ["HS256"] });
    if (!user) throw new Error("no subject");
    socket.data.user = user;
    socket.data.topics = topics ?? [];
    next();
  } catch (err) {
    next(new Error(`token refused: ${err.message}`));
  }
});

io.on("connection", (socket) => {
  socket.join([`u:${socket.data.user}`, ...socket.data.topics.map((topic) => `t:${topic}`)]);
});

// Redis answers in order: the adapter's subscriptions stand once it does.
await sub.ping();
listen(server, port);
