// Game rooms on one Colyseus server: a backend opens a room and reserves its
// seats, players come and say where they are, and Colyseus sends all of them,
// once a tick, a patch of what has changed.
import { createServer } from "node:http";

import { matchMaker, Room, Server } from "@colyseus/core";
import { schema, t } from "@colyseus/schema";
import { WebSocketTransport } from "@colyseus/ws-transport";

import { answer, isPosition, opener, options, ticks } from "../rooms.mjs";

const { port, key } = options();

const Player = schema({ x: t.uint16(), y: t.uint16() }, "Player");
const State = schema({ tick: t.uint32(), players: t.map(Player) }, "State");

class Game extends Room {
  onCreate({ hz, size }) {
    this.maxClients = size;
    this.state = new State();
    // The timer behind patchRate drifts by a percent or two, so that ticks would be
    // missing with any number of players. broadcastPatch on a schedule of our own is
    // what the documentation has for that.
    this.patchRate = null;
    this.stop = ticks(hz, (tick) => this.tick(tick));
    this.onMessage("move", (client, position) => this.move(client, position));
  }

  onJoin(client) { this.state.players.set(client.sessionId, new Player()); }

  onLeave(client) { this.state.players.delete(client.sessionId); }

  onDispose() { this.stop(); }

  move(client, position) {
    const player = this.state.players.get(client.sessionId);
    if (!player || !isPosition(position)) return;
    player.x = position.x;
    player.y = position.y;
  }

  tick(tick) {
    this.state.tick = tick;
    this.broadcastPatch();
  }
}

const open = opener(key, async (users, hz) => {
  const room = await matchMaker.createRoom("game", { hz, size: users.length });
  const seats = await Promise.all(users.map((user) => matchMaker.reserveSeatFor(room, { user })));
  return {
    room: room.roomId,
    seats: seats.map((seat) => ({ path: `/${seat.processId}/${seat.roomId}?sessionId=${seat.sessionId}`, login: "" })),
  };
});

const server = new Server({
  greet: false,
  gracefullyShutdown: false, // the process ends at once: clients see their connections end
  transport: new WebSocketTransport({ server: createServer(), perMessageDeflate: false }),
  express: (app) => {
    app.post("/rooms", open);
    app.get("/readyz", (_, res) => answer(res, 200, {}));
  },
});
server.define("game", Game);
process.once("SIGTERM", () => process.exit(0));
await server.listen(port, "127.0.0.1", 4096);
