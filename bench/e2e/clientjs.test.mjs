// The JavaScript client against a real server, where journey.test.mjs does not
// come: rooms, event streams, friends, a second run, and another origin's refusals.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import WebSocket from "ws";

import { Client } from "../../client/js/dist/index.js";
import { startDev } from "./homing.mjs";

const PATIENCE = 60_000; // ms, for anything that must happen

let homing;
before(async () => { homing = await startDev(); });
after(() => homing?.stop());

async function token(user) {
  const reply = await fetch(`${homing.api}/dev/token?user=${user}`);
  return (await reply.text()).trim();
}

async function call(method, path, body) {
  const ask = () => fetch(`${homing.api}${path}`, { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  let reply = await ask();
  for (const end = Date.now() + 10_000; reply.status === 503 && Date.now() < end; reply = await ask()) await sleep(100); // it has just started
  assert.ok(reply.ok, `${path}: ${reply.status}`);
}

const notify = (user, data, more) => call("POST", "/notify", { users: [user], data, ...more });

// connect makes a client that is closed at the test's end, and keeps what it is told.
function connect(t, user, options) {
  const client = new Client({ url: homing.front, WebSocket, token: () => token(user), ...options });
  client.got = [];
  client.on("notify", (n) => { client.got.push(n); });
  t.after(() => client.close());
  return client;
}

async function until(what, is) {
  const late = Date.now() + PATIENCE;
  while (!is()) {
    assert.ok(Date.now() < late, `waited for ${what}`);
    await sleep(20);
  }
}

const open = (client) => until("open", () => client.status.state === "open");
const data = (client) => client.got.map((n) => n.data);

// Blocked is a WebSocket that a proxy lets nothing through of.
class Blocked {
  constructor() { setTimeout(() => this.onclose({ code: 1006, reason: "" }), 10); }
  send() {}
  close() {}
}

test("a place outlives the client", async (t) => {
  const storage = new Map();
  const first = connect(t, "pia", { storage });
  await open(first);
  await notify("pia", 1, { store: "1h" });
  await until("1", () => first.got.length === 1);
  await first.close();
  await notify("pia", 2, { store: "1h" });
  const second = connect(t, "pia", { storage });
  await until("2", () => second.got.length === 1);
  await open(second);
  assert.deepEqual(data(second), [2]);
});

test("an event stream where WebSocket does not get through", async (t) => {
  const client = connect(t, "sue", { WebSocket: Blocked });
  await open(client);
  await notify("sue", 1, { store: "1h" });
  await until("1", () => client.got.length === 1);
  client.cut();
  await notify("sue", 2, { store: "1h" });
  await until("2", () => client.got.length === 2);
  assert.deepEqual(data(client), [1, 2]);
  await call("DELETE", "/users/sue/connections");
  await until("the end", () => client.status.state === "closed");
  assert.equal(client.status.code, 4003);
});

test("from an event stream back to a WebSocket", { timeout: 120_000 }, async (t) => {
  let blocked = true;
  const client = connect(t, "tim", { WebSocket: class { constructor(...args) { return blocked ? new Blocked() : new WebSocket(...args); } } });
  await open(client);
  const { conn } = client;
  blocked = false;
  let n = 0;
  let over = false;
  const posting = (async () => { // one after the other, and not stored: what is lost between is lost
    for (; !over; await sleep(50)) await notify("tim", n++);
  })();
  t.after(() => { over = true; });
  await until("a WebSocket", () => client.conn !== conn);
  await sleep(500);
  over = true;
  await posting;
  await until("all", () => client.got.length >= n);
  assert.deepEqual(data(client), Array.from({ length: n }, (_, i) => i));
  await client.publish("guild:1", "hi");
});

test("a token that is refused five times", async (t) => {
  let asked = 0;
  const client = connect(t, "bad", { token: () => `x${++asked}.y.z` });
  await until("the end", () => client.status.state === "closed");
  assert.deepEqual([client.status.status, asked], [401, 5]);
});

test("a seat, a lost line, a move, and the way out", { timeout: 120_000 }, async (t) => {
  const players = ["ann", "bob"].map((user) => connect(t, user));
  await Promise.all(players.map(open));
  for (const p of players) await p.ask({ t: "match", queue: "duel" });
  const rooms = await Promise.all(players.map(async (p) => {
    await until("a match", () => p.got.some((n) => n.type === "match.found"));
    const room = p.join(p.got.find((n) => n.type === "match.found").data);
    room.heard = [];
    room.seats = 0;
    room.on("joined", () => room.seats++);
    room.on("frame", ({ events }) => room.heard.push(...events));
    return room;
  }));
  await until("frames", () => rooms.every((r) => Object.keys(r.state).length > 0));
  const said = (room, text) => room.heard.filter((e) => e.data?.text === text).length;
  await until("a word", () => rooms[0].say({ chat: "one" }));
  await until("one", () => rooms.every((r) => said(r, "one") === 1));
  players[1].cut();
  await until("a loss", () => players[1].status.state !== "open");
  await until("a word", () => rooms[0].say({ chat: "two" }));
  await until("two", () => rooms.every((r) => said(r, "two") === 1));
  await until("the seat again", () => rooms[1].seats === 2);
  await call("POST", `/rooms/${rooms[0].info.room}/move`, {});
  await until("the move", () => rooms.every((r) => r.info.epoch === 2));
  await until("a word", () => rooms[0].say({ chat: "three" }));
  await until("three", () => rooms.every((r) => said(r, "three") === 1));
  assert.equal(said(rooms[1], "one"), 1);
  const numbers = rooms[1].heard.map((e) => e.n);
  assert.deepEqual(numbers, [...new Set(numbers)].sort((a, b) => a - b));
  let left;
  rooms[1].on("left", (m) => { left = m; });
  await rooms[1].leave();
  assert.equal(left.why, "left");
  await notify("bob", "still here");
  await until("a notification", () => players[1].got.at(-1)?.data === "still here");
});

test("a signal ends it, and what waits fails", async (t) => {
  const stop = new AbortController();
  const client = connect(t, "zoe", { signal: stop.signal, WebSocket: Blocked, fetch: null });
  const waiting = client.publish("guild:1", 1);
  stop.abort();
  await assert.rejects(waiting, { code: "closed" });
  await until("the end", () => client.status.state === "closed");
  assert.throws(() => client.subscribe("guild:1"), { code: "closed" });
});
