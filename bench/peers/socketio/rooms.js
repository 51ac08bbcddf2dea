// Game rooms on one Socket.IO server: a backend opens a room, players come with
// a ticket each and say where they are, and the room tells all of them, once a
// tick, who has moved.
import { randomBytes } from "node:crypto";
import { createServer } from "node:http";

import { Server } from "socket.io";

import { answer, isPosition, opener, options, ticks } from "../rooms.mjs";

const UNUSED_TICKET_MS = 60_000;

const { port, key } = options();
const tickets = new Map(); // by ticket, who may sit where
let rooms = 0;

const open = opener(key, (users, hz) => {
  const room = new Room(String(++rooms), hz);
  return {
    room: room.id,
    seats: users.map((user) => ({
      path: "/socket.io/?EIO=4&transport=websocket",
      login: `40{"ticket":"${reserve(room, user)}"}`,
    })),
  };
});

// reserve returns the ticket of one user.
function reserve(room, user) {
  const ticket = randomBytes(16).toString("base64url");
  const timer = setTimeout(() => tickets.delete(ticket), UNUSED_TICKET_MS);
  tickets.set(ticket, { room, user, timer });
  return ticket;
}

const server = createServer((req, res) => {
  if (req.method === "POST" && req.url === "/rooms") return open(req, res);
  return answer(res, req.url === "/readyz" ? 200 : 404, {});
});

const io = new Server(server, {
  // No polling request before each connection.
  transports: ["websocket"],
  // The default, written down: compression costs CPU and memory per connection.
  perMessageDeflate: false,
  // No copy of the client library in memory.
  serveClient: false,
});

// The documented way to give the memory of the handshake's request back.
io.engine.on("connection", (socket) => { socket.request = null; });

// Room is one game: it plays while somebody is in it.
class Room {
  constructor(id, hz) {
    this.id = id;
    this.hz = hz;
    this.members = 0;
    this.positions = {}; // by user
    this.moved = {}; // of these, what has changed since the last tick
  }

  enter(socket, user) {
    if (this.members++ === 0) this.stop = ticks(this.hz, (tick) => this.tick(tick));
    socket.join(this.id);
    socket.emit("joined", { state: this.positions });
    socket.on("move", (position) => this.move(user, position));
    socket.on("disconnect", () => {
      if (--this.members === 0) this.stop();
    });
  }

  move(user, position) {
    if (isPosition(position)) this.positions[user] = this.moved[user] = { x: position.x, y: position.y };
  }

  // tick sends one frame, which Socket.IO encodes once for all members.
  tick(tick) {
    io.to(this.id).emit("frame", { tick, state: this.moved });
    this.moved = {};
  }
}

io.use((socket, next) => {
  const ticket = socket.handshake.auth.ticket;
  const seat = tickets.get(ticket);
  if (!seat) return next(new Error("no such ticket"));
  tickets.delete(ticket);
  clearTimeout(seat.timer);
  socket.data.seat = seat;
  return next();
});

io.on("connection", (socket) => {
  const { room, user } = socket.data.seat;
  room.enter(socket, user);
});

server.listen({ port, host: "127.0.0.1", backlog: 4096 });
process.once("SIGTERM", () => process.exit(0));
