// Proves delivery with clients written by others (npm ws): opens sockets for
// users with several devices each, posts notifications to random users, and
// checks that every one arrived at exactly the right sockets and nowhere else.
//
//   node clients.mjs --api http://127.0.0.1:8080 --api http://127.0.0.1:8082 \
//     --front ws://127.0.0.1:8081/ws --secret-file player.secret --api-key-file api.key
//
// Against `homing dev`, --token-url http://127.0.0.1:8080/dev/token takes the
// place of the secret, and no API key is needed. Exits with 1 when a message
// is lost, doubled or misplaced.
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import WebSocket from "ws";

import { line, sign } from "./access.mjs";

const { values: args } = parseArgs({
  options: {
    api: { type: "string", multiple: true, default: ["http://127.0.0.1:8080"] },
    front: { type: "string", multiple: true, default: ["ws://127.0.0.1:8081/ws"] },
    "secret-file": { type: "string" },
    "token-url": { type: "string" },
    "api-key-file": { type: "string" },
    clients: { type: "string", default: "1000" },
    users: { type: "string", default: "700" },
    notifications: { type: "string", default: "10000" },
    targets: { type: "string", default: "3" }, // users of a notification, at most
    callers: { type: "string", default: "32" },
    quiet: { type: "string", default: "3000" }, // ms without a message that end the wait
  },
});
const [CLIENTS, USERS, NOTIFICATIONS, TARGETS, CALLERS, QUIET] =
  ["clients", "users", "notifications", "targets", "callers", "quiet"].map((k) => Number(args[k]));
const SERVICES = [undefined, "chess", "poker"];
const run = `e2e${process.pid}`; // apart from users of other runs

const [secret, key] = [args["secret-file"], args["api-key-file"]].map((file) => file && line(file));

// ---- tokens

async function tokenFor(user, service) {
  if (secret) {
    return sign(secret, { sub: user, svc: service });
  }
  const url = new URL(args["token-url"]);
  url.searchParams.set("user", user);
  if (service) url.searchParams.set("service", service);
  const reply = await fetch(url);
  if (!reply.ok) throw new Error(`${url}: HTTP ${reply.status}`);
  return (await reply.text()).trim();
}

// ---- clients

let arrived = 0; // notifications, at all sockets
let lastArrival = Date.now();

// Every user has a device; the clients beyond one each go round the users.
const devices = Array.from({ length: CLIENTS }, (_, i) => ({
  user: `${run}-${i % USERS}`,
  service: SERVICES[i % SERVICES.length],
  got: [], // numbers of the notifications read
  trouble: [],
}));

async function open(device, i) {
  const url = new URL(args.front[i % args.front.length]);
  url.searchParams.set("token", await tokenFor(device.user, device.service));
  const socket = new WebSocket(url, "homing.v1");
  device.socket = socket;
  await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${device.user}: no hello within 20 s`)), 20_000);
    socket.on("message", (raw) => {
      const m = JSON.parse(raw);
      if (m.t === "hello") {
        if (m.user !== device.user) device.trouble.push(`hello names ${m.user}`);
        clearTimeout(timer);
        resolve();
      } else if (m.t === "notify") {
        device.got.push(m.data.n);
        arrived++;
        lastArrival = Date.now();
      } else {
        device.trouble.push(`unexpected ${raw}`);
      }
    });
    socket.on("error", reject);
    socket.on("close", (code, why) => {
      if (!device.leaving) device.trouble.push(`closed: ${code} ${why}`);
      reject(new Error(`${device.user}: closed: ${code} ${why}`));
    });
  });
}

// inParallel runs work(0) … work(count-1), at most width at a time.
async function inParallel(count, width, work) {
  let next = 0;
  await Promise.all(Array.from({ length: width }, async () => {
    while (next < count) await work(next++);
  }));
}

// ---- notifications

const sent = []; // by number: {users, service}

function choose(n) {
  const users = new Set();
  for (let k = 1 + Math.floor(Math.random() * TARGETS); k > 0; k--) users.add(Math.floor(Math.random() * USERS));
  const service = n % 5 === 0 ? SERVICES[1 + Math.floor(Math.random() * 2)] : undefined;
  return { users: new Set([...users].map((u) => `${run}-${u}`)), service };
}

async function post(n) {
  const m = (sent[n] = choose(n));
  const reply = await fetch(`${args.api[n % args.api.length]}/notify`, {
    method: "POST",
    headers: { "content-type": "application/json", ...(key && { authorization: `Bearer ${key}` }) },
    body: JSON.stringify({
      users: [...m.users, `${run}-nobody`],
      services: m.service && [m.service],
      type: "e2e",
      data: { n, text: "Zug um Zug ♞" },
    }),
  });
  const body = await reply.json();
  if (reply.status !== 200) throw new Error(`notification ${n}: HTTP ${reply.status} ${JSON.stringify(body)}`);
  if (body.targets !== m.users.size + 1) throw new Error(`notification ${n}: ${JSON.stringify(body)}, want ${m.users.size + 1} targets`);
}

// ---- the verdict

// dueAt is what a device must have read: a set of notification numbers.
function dueAt(device, byUser) {
  return new Set((byUser.get(device.user) ?? []).filter((n) => !sent[n].service || sent[n].service === device.service));
}

function verdict() {
  const byUser = new Map();
  sent.forEach((m, n) => m.users.forEach((u) => byUser.set(u, [...(byUser.get(u) ?? []), n])));
  const v = { expected: 0, lost: 0, duplicated: 0, misdelivered: 0, trouble: [] };
  for (const d of devices) {
    const due = dueAt(d, byUser);
    const got = new Set(d.got);
    v.expected += due.size;
    v.lost += [...due].filter((n) => !got.has(n)).length;
    v.misdelivered += [...got].filter((n) => !due.has(n)).length;
    v.duplicated += d.got.length - got.size;
    v.trouble.push(...d.trouble.map((t) => `${d.user}: ${t}`));
  }
  return v;
}

const seconds = (since) => ((Date.now() - since) / 1000).toFixed(1);

// ---- run

let start = Date.now();
await inParallel(CLIENTS, 64, (i) => open(devices[i], i));
console.error(`${CLIENTS} sockets of ${Math.min(USERS, CLIENTS)} users have their hello after ${seconds(start)} s`);
await sleep(500); // look-ups read replicas, which are a moment behind

start = Date.now();
const progress = setInterval(() => console.error(`  ${sent.length} notifications posted, ${arrived} deliveries`), 1000);
await inParallel(NOTIFICATIONS, CALLERS, post);
const took = seconds(start);
while (Date.now() - lastArrival < QUIET) await sleep(100);
clearInterval(progress);

const v = verdict();
for (const d of devices) {
  d.leaving = true;
  d.socket.close(1000);
}
v.trouble.slice(0, 10).forEach((t) => console.error(t));
const exact = v.lost === 0 && v.duplicated === 0 && v.misdelivered === 0 && v.trouble.length === 0;
console.log(`${exact ? "exact" : "NOT exact"}: ${CLIENTS} sockets of ${Math.min(USERS, CLIENTS)} users, ${NOTIFICATIONS} notifications in ${took} s: ` +
  `${v.expected} deliveries expected, ${v.lost} lost, ${v.duplicated} duplicated, ${v.misdelivered} misdelivered, ${v.trouble.length} connections in trouble`);
process.exitCode = exact ? 0 : 1;
setTimeout(() => process.exit(), 5000).unref(); // a socket that does not close holds up nothing
