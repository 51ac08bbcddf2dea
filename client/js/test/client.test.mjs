// What the conformance list does not come to: a page that comes into sight,
// listeners that are slow or fail, storage that is slow or fails, sources of tokens
// that fail.
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { Client } from "../dist/index.js";

// Wire is a WebSocket whose other end a test plays.
class Wire {
  static all = [];
  said = [];
  constructor(url, protocols) {
    Object.assign(this, { url, protocols });
    Wire.all.push(this);
    setTimeout(() => this.onopen({}), 1);
    setTimeout(() => this.hear({ t: "hello", user: "ann", conn: "c", ping: 60_000, resume: Wire.resume }), 2);
  }
  hear(m) { this.onmessage({ data: JSON.stringify(m) }); }
  send(text) { this.said.push(JSON.parse(text)); }
  close(code) { setTimeout(() => this.onclose({ code: code ?? 1006, reason: "" }), 1); }
}

function connect(t, options) {
  Wire.all = [];
  Wire.resume = options?.resume ?? false;
  const client = new Client({ url: "ws://front.example/ws", WebSocket: Wire, fetch: null, ...options });
  t.after(() => client.close());
  client.states = [];
  client.on("state", (s) => { client.states.push(s); });
  return client;
}

async function until(what, is) {
  for (let i = 0; !is(); i++) {
    assert.ok(i < 3000, `waited for ${what}`);
    await sleep(10);
  }
}

const open = (client) => until("open", () => client.status.state === "open");
const wire = () => Wire.all.at(-1);
const note = (i, more) => ({ t: "notify", id: `n${i}`, data: i, ...more });

test("a page that comes into sight looks whether the connection lives", async (t) => {
  const page = Object.assign(new EventTarget(), { hidden: false });
  globalThis.document = page;
  t.after(() => { delete globalThis.document; });
  const client = connect(t);
  await open(client);
  const show = (hidden) => { page.hidden = hidden; page.dispatchEvent(new Event("visibilitychange")); };
  const pings = () => wire().said.filter((m) => m.t === "ping").length;
  show(true);
  await sleep(50);
  assert.equal(pings(), 0, "out of sight nothing is asked");
  show(false);
  await until("a ping", () => pings() === 1);
  wire().hear({ t: "ok" });
  await sleep(5500);
  assert.equal(client.status.state, "open", "it has answered");
  show(false);
  await until("a loss", () => client.states.some((s) => s.why === "silence"));
});

test("what a listener fails at is told, not acknowledged, and given again", async (t) => {
  const client = connect(t);
  const errors = [];
  let given = 0;
  client.on("error", (e) => { errors.push(e.message); });
  client.on("notify", () => { if (given++ === 0) throw new Error("no"); });
  client.on("state", () => { throw new Error("nor here"); });
  await open(client);
  wire().hear(note(1, { ack: true, stored: true }));
  await until("a failure", () => errors.includes("no"));
  await sleep(200);
  assert.deepEqual(wire().said.filter((m) => m.t === "ack"), []);
  wire().hear(note(1, { ack: true, stored: true }));
  await until("an acknowledgement", () => wire().said.some((m) => m.ids?.[0] === "n1"));
  assert.equal(given, 2);
  assert.ok(errors.includes("nor here"));
});

test("listeners that are far behind end the connection, and what was taken is given in order", async (t) => {
  const client = connect(t);
  let go;
  const gate = new Promise((r) => { go = r; });
  const given = [];
  client.on("notify", async (n) => { given.push(n.id); await gate; });
  await open(client);
  const first = wire();
  const big = "x".repeat(100_000);
  for (let i = 0; i < 200; i++) first.hear(note(i, { data: big }));
  await until("the end", () => client.states.some((s) => s.why === "slow"));
  go();
  await until("the rest", () => given.length > 50);
  await sleep(50);
  assert.ok(given.length < 90, `${given.length} were taken`);
  assert.deepEqual(given, given.map((_, i) => `n${i}`));
});

test("storage that takes its time, and that fails", async (t) => {
  const kept = new Map([["homing:", JSON.stringify({ places: { "": "m7" }, seen: ["old"] })]]);
  const storage = { get: async (k) => (await sleep(50), kept.get(k)), set: async (k, v) => { kept.set(k, v); throw new Error("full"); } };
  const client = connect(t, { storage, resume: true });
  const errors = [];
  client.on("error", (e) => { errors.push(e.message); });
  const given = [];
  client.on("notify", (n) => { given.push(n.id); });
  await until("resume", () => wire()?.said.some((m) => m.t === "resume"));
  assert.equal(wire().said[0].after, "m7");
  wire().hear({ t: "resumed", recovered: true, count: 2, last: "m8" });
  wire().hear(note(0, { id: "old", stored: true }));
  wire().hear(note(8, { id: "m8", stored: true }));
  await open(client);
  await until("a save", () => kept.get("homing:").includes("m8"));
  assert.deepEqual(given, ["m8"]);
  assert.deepEqual(JSON.parse(kept.get("homing:")).places, { "": "m8" });
  await until("the failure", () => errors.includes("full"));
});

test("a source of tokens that fails is asked again", async (t) => {
  let asked = 0;
  const client = connect(t, { token: async () => { if (++asked < 3) throw new Error("down"); return "t"; } });
  await open(client);
  assert.deepEqual([asked, client.states.filter((s) => s.why === "token").length], [3, 2]);
  assert.deepEqual(wire().protocols, ["homing.v1", "bearer.t"]);
});

test("another user has a place of its own", async (t) => {
  const jwt = (sub) => `x.${btoa(JSON.stringify({ sub }))}.y`.replaceAll("=", "");
  const users = ["ann", "bob", "ann"];
  const storage = new Map();
  const client = connect(t, { token: () => jwt(users.shift() ?? "ann"), storage, resume: true });
  const after = async (i) => {
    await until("a connection", () => Wire.all.length > i && Wire.all[i].said.some((m) => m.t === "resume"));
    return Wire.all[i].said.find((m) => m.t === "resume").after;
  };
  assert.equal(await after(0), "");
  Wire.all[0].hear({ t: "resumed", recovered: true, count: 0, last: "a1" });
  await open(client);
  client.cut();
  assert.equal(await after(1), "", "bob's");
  client.cut();
  assert.equal(await after(2), "a1", "ann's");
});
