// Proves recovery with the npm socket.io-client, as it is: clients that poll, that speak
// over WebSocket and that go from one to the other lose their connections at random while
// they are told things, and the servers lose workers and a Redis. Each must hear each
// notification once and in order. Requests go to one front or the other at random, each
// on its own: nobody is sticky.
//
//   go run ./bench/e2e/stack … prints what --front, --api and the files are
//   node recovery.mjs --clients 60 --disconnects 200 --seconds 90 --fault "20 roll" …
//
// A fault is written to standard output as "fault NAME" at its second, and answered on
// standard input: recovery.test.mjs does that. Exits with 1 when something was lost,
// came twice or out of order, or a client was told that it had not recovered.
import { randomUUID } from "node:crypto";
import { Agent, createServer, request } from "node:http";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { io } from "socket.io-client";

import { line, sign } from "./access.mjs";

const { values: args } = parseArgs({
  options: {
    api: { type: "string", multiple: true },
    front: { type: "string", multiple: true },
    "secret-file": { type: "string" },
    "api-key-file": { type: "string" },
    clients: { type: "string", default: "60" },
    disconnects: { type: "string", default: "200" },
    seconds: { type: "string", default: "90" },
    rate: { type: "string", default: "40" }, // notifications per second, for two users each or a topic
    fault: { type: "string", multiple: true, default: [] }, // second and name
    patience: { type: "string", default: "60" }, // seconds after that, until everything must have been heard
  },
});
const [CLIENTS, DISCONNECTS, SECONDS, RATE, PATIENCE] = ["clients", "disconnects", "seconds", "rate", "patience"].map((k) => Number(args[k]));
const MODES = [["polling"], ["websocket"], ["polling", "websocket"]];
const TOPICS = 4; // each client is in one
const [secret, key] = [args["secret-file"], args["api-key-file"]].map(line);
const any = (list) => list[Math.floor(Math.random() * list.length)];
const token = (user, topic) => sign(secret, { sub: user, may_join: [topic], may_publish: [topic] });

// ---- a balancer that is not sticky: each request goes to any front

const agents = new Map(args.front.map((url) => [new URL(url).host, new Agent({ keepAlive: true, maxSockets: 512 })]));
const spread = new Map([...agents.keys()].map((host) => [host, 0]));

function balancer() {
  const pick = () => {
    const host = any([...agents.keys()]);
    spread.set(host, spread.get(host) + 1);
    const [hostname, port] = host.split(":");
    return { host, hostname, port };
  };
  const server = createServer((req, res) => {
    const to = pick();
    const up = request({ ...to, host: to.hostname, agent: agents.get(to.host), method: req.method, path: req.url, headers: { ...req.headers, connection: "keep-alive" } }, (answer) => {
      res.writeHead(answer.statusCode, answer.headers);
      answer.pipe(res);
    });
    up.on("error", () => res.destroy());
    res.on("close", () => { if (!res.writableFinished) up.destroy(); });
    req.pipe(up);
  });
  server.on("upgrade", (req, socket, head) => {
    const to = pick();
    const up = connect(to.port, to.hostname, () => {
      const lines = [`${req.method} ${req.url} HTTP/1.1`];
      for (let i = 0; i < req.rawHeaders.length; i += 2) lines.push(`${req.rawHeaders[i]}: ${req.rawHeaders[i + 1]}`);
      up.write(`${lines.join("\r\n")}\r\n\r\n`);
      up.write(head);
      up.pipe(socket).pipe(up);
    });
    for (const [a, b] of [[up, socket], [socket, up]]) {
      a.on("error", () => b.destroy());
      a.on("close", () => b.destroy());
    }
  });
  server.keepAliveTimeout = 60_000;
  return new Promise((resolve) => { server.listen(0, "127.0.0.1", () => resolve(server)); });
}

// ---- clients

const totals = { connects: 0, recovered: 0, notRecovered: 0, twice: 0, disorder: 0, misplaced: 0, lost: 0, publishes: 0, publishRefused: 0, binary: 0, pings: 0, disconnects: 0 };
const faulty = [];
const fail = (what) => { if (faulty.push(what) <= 20) console.error(what); };

class Client {
  heard = { user: [], topic: [], published: new Set() };
  at = ""; // id of the last message of the topic

  constructor(i, url) {
    this.user = `u${i}-${process.pid}`;
    this.topic = `guild:${i % TOPICS}-${process.pid}`;
    this.mode = MODES[i % MODES.length];
    this.socket = io(url, {
      transports: this.mode, auth: (cb) => cb({ token: token(this.user, this.topic) }),
      forceNew: true, reconnectionDelay: 100, reconnectionDelayMax: 1000, timeout: 15_000, ackTimeout: 10_000,
    });
    this.socket.on("notify", (m) => this.take(m));
    this.socket.on("connect", () => this.connected());
    this.socket.on("connect_error", (err) => { if (err.data) fail(`${this.user}: refused: ${JSON.stringify(err.data)} ${err.message}`); });
    this.ready = new Promise((resolve) => { this.isReady = resolve; });
  }

  async connected() {
    totals.connects++;
    if (this.came && this.socket.recovered) totals.recovered++;
    if (this.came && !this.socket.recovered) {
      totals.notRecovered++;
      fail(`${this.user} (${this.mode}) was not recovered`);
    }
    this.came = true;
    const id = this.socket.id;
    while (this.socket.id === id) { // until it is a member, or the connection is another one
      const answer = await this.ask("subscribe", { topic: this.topic, after: this.at });
      if (answer?.t === "subscribed") {
        if (answer.recovered === false && this.at) fail(`${this.user}: of the topic something is gone`);
        this.isReady();
        return;
      }
      if (answer && !["unavailable", "rate_limited", "already_subscribed"].includes(answer.code)) fail(`${this.user}: ${JSON.stringify(answer)}`);
      await sleep(300);
    }
  }

  async ask(event, ...rest) {
    try {
      return await this.socket.timeout(10_000).emitWithAck(event, ...rest);
    } catch {
      return undefined; // the connection has gone: nobody knows what has become of it
    }
  }

  take(m) {
    const { kind, of, n } = m.data;
    if (kind === "publish") {
      if (this.heard.published.has(of)) { totals.twice++; fail(`${this.user} (${this.mode}) heard ${of} twice`); }
      this.heard.published.add(of);
      this.at = m.id;
      return;
    }
    if (of !== this[kind]) { totals.misplaced++; fail(`${this.user} heard what is for ${of}`); return; }
    if (kind === "topic") this.at = m.id;
    const list = this.heard[kind];
    const last = list.at(-1) ?? 0;
    if (n === last + 1) { list.push(n); return; }
    if (list.includes(n)) { totals.twice++; fail(`${this.user} (${this.mode}) heard ${kind} ${n} twice, after ${last}`); return; }
    totals.disorder++;
    fail(`${this.user} (${this.mode}) heard ${kind} ${n} after ${last}`);
    list.push(n);
  }

  // part ends the connection, half of the times as a cable does that is pulled.
  part() {
    const ws = this.socket.io.engine.transport?.ws;
    if (ws?.terminate && Math.random() < 0.5) ws.terminate();
    else this.socket.io.engine.close();
    totals.disconnects++;
  }
}

// ---- load

// Each user's and each topic's notifications come from one API server, one after the
// other: those have an order.
const sent = new Map();
const tails = new Map();

function tell(kind, of) {
  const n = (sent.get(of) ?? 0) + 1;
  sent.set(of, n);
  const to = kind === "user" ? { users: [of], store: "1h" } : { topics: [of], keep: { count: 1000, age: "1h" } };
  const body = JSON.stringify({ ...to, id: `${of}/${n}`, data: { kind, of, n, text: "x".repeat(100) } });
  const api = args.api[[...of].reduce((sum, c) => sum + c.charCodeAt(0), 0) % args.api.length];
  tails.set(of, (tails.get(of) ?? Promise.resolve()).then(() => post(`${api}/notify`, body)));
}

async function post(url, body) {
  for (;;) { // the same id: what was accepted is not sent again
    try {
      const reply = await fetch(url, { method: "POST", headers: { "Content-Type": "application/json", Authorization: `Bearer ${key}` }, body, signal: AbortSignal.timeout(10_000) });
      const text = await reply.text();
      if (reply.ok) return;
      if (reply.status < 500 && reply.status !== 429 && reply.status !== 409) { fail(`${url}: ${reply.status} ${text}`); return; }
    } catch { /* again */ }
    await sleep(200);
  }
}

const published = new Map(); // by topic

async function publish(client) {
  const of = randomUUID();
  const answer = await client.ask("publish", { topic: client.topic, data: { kind: "publish", of } });
  if (answer?.t === "published") {
    totals.publishes++;
    if (!published.has(client.topic)) published.set(client.topic, new Set());
    published.get(client.topic).add(of);
  } else {
    totals.publishRefused++;
  }
}

// binary goes up with an acknowledgement; the client is in no room.
async function binary(client) {
  const answer = await client.ask("say", Buffer.from([1, 2, 3]));
  if (answer && answer.code !== "no_room") fail(`${client.user}: binary: ${JSON.stringify(answer)}`);
  if (answer) totals.binary++;
}

async function main() {
  const server = await balancer();
  const clients = Array.from({ length: CLIENTS }, (_, i) => new Client(i, `http://127.0.0.1:${server.address().port}`));
  await Promise.race([
    Promise.all(clients.map((c) => c.ready)),
    sleep(60_000, undefined, { ref: false }).then(() => { throw new Error("not all clients are there after 60 s"); }),
  ]);
  const began = Date.now();
  const at = () => (Date.now() - began) / 1000;
  const faults = args.fault.map((f) => ({ at: Number(f.split(" ")[0]), name: f.slice(f.indexOf(" ") + 1) }));
  const gaps = { tell: 1 / RATE, part: SECONDS / DISCONNECTS, aside: 0.2 };
  const next = { tell: 0, part: 1, aside: 0 };
  while (at() < SECONDS) {
    for (; next.tell <= at(); next.tell += gaps.tell) {
      if (Math.random() < 0.2) tell("topic", any(clients).topic);
      else for (const c of [any(clients), any(clients)]) tell("user", c.user);
    }
    for (; next.part <= at(); next.part += gaps.part) {
      const connected = clients.filter((c) => c.socket.connected);
      if (connected.length > 0) any(connected).part();
    }
    for (; next.aside <= at(); next.aside += gaps.aside) {
      const c = any(clients);
      any([() => publish(c), () => binary(c), async () => { if ((await c.ask("ping"))?.t === "ok") totals.pings++; }])();
    }
    if (faults[0]?.at <= at()) console.log(`fault ${faults.shift().name}`);
    await sleep(5);
  }
  await Promise.all(tails.values());
  const whole = (c) => c.heard.user.length === (sent.get(c.user) ?? 0) && c.heard.topic.length === (sent.get(c.topic) ?? 0)
    && [...published.get(c.topic) ?? []].every((id) => c.heard.published.has(id));
  for (let left = PATIENCE * 10; left > 0 && !clients.every(whole); left--) await sleep(100);
  await sleep(1000); // what comes twice may come late
  for (const c of clients) {
    for (const [kind, of] of [["user", c.user], ["topic", c.topic]]) {
      const missing = (sent.get(of) ?? 0) - new Set(c.heard[kind]).size;
      totals.lost += missing;
      if (missing) fail(`${c.user} (${c.mode}) has not heard ${missing} of ${kind}, heard ${c.heard[kind].length}`);
    }
    const missing = [...published.get(c.topic) ?? []].filter((id) => !c.heard.published.has(id)).length;
    totals.lost += missing;
    if (missing) fail(`${c.user} (${c.mode}) has not heard ${missing} that were published`);
    c.socket.disconnect();
  }
  server.close();
  server.closeAllConnections();
  for (const agent of agents.values()) agent.destroy();
  const notifications = [...sent.values()].reduce((a, b) => a + b, 0);
  const heard = clients.reduce((a, c) => a + c.heard.user.length + c.heard.topic.length + c.heard.published.size, 0);
  console.log(JSON.stringify({ clients: CLIENTS, seconds: SECONDS, notifications, heard, ...totals, spread: [...spread.values()] }));
  process.exit(faulty.length > 0 ? 1 : 0);
}

await main();
