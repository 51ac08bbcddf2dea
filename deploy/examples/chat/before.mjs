// Before: a chat on Socket.IO. Several of these share a Redis and stand behind a
// balancer with sticky sessions.
//
//   PORT=3000 REDIS=redis://127.0.0.1:6379 node before.mjs
import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-adapter";
import { Redis } from "ioredis";
import { Server } from "socket.io";
import { allowed, body, userOf } from "./game.mjs";

const [pub, sub] = [new Redis(process.env.REDIS), new Redis(process.env.REDIS)];

const server = createServer(async (req, res) => {
  if (req.method !== "POST" || req.url !== "/announce") return res.writeHead(404).end();
  io.emit("announcement", await body(req));
  res.end("{}");
});

const io = new Server(server, { adapter: createAdapter(pub, sub), cors: { origin: "*" } });

io.use((socket, next) => {
  socket.data.user = userOf(socket.handshake.auth.token);
  next(socket.data.user ? undefined : new Error("unauthorized"));
});

io.on("connection", (socket) => {
  const { user } = socket.data;
  socket.on("enter", (guild, done) => {
    if (!allowed(user, guild)) return done({ error: "not_allowed" });
    socket.join(`guild:${guild}`);
    done({ ok: true });
  });
  socket.on("chat", (guild, text, done) => {
    if (!allowed(user, guild)) return done({ error: "not_allowed" });
    io.to(`guild:${guild}`).emit("chat", { guild, user, text });
    done({ ok: true });
  });
});

server.listen(process.env.PORT, "127.0.0.1", () => console.log("ready"));
