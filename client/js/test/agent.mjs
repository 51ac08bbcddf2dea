// The agent of this client for client/conformance: see its README.md.
import { createInterface } from "node:readline";
import ws from "ws";

// Node has a WebSocket of its own from 22 on (before with --experimental-websocket);
// HOMING_WEBSOCKET=global takes that.
const WebSocket = process.env.HOMING_WEBSOCKET === "global" ? undefined : ws;

// A network and a clock that the script sets, as a browser and an operator do.
let online = true;
const navigator = { get onLine() { return online; } };
Object.defineProperty(globalThis, "navigator", { value: navigator, configurable: true });
const bus = new EventTarget();
globalThis.addEventListener = bus.addEventListener.bind(bus);
globalThis.removeEventListener = bus.removeEventListener.bind(bus);
let skew = 0;
const realNow = Date.now;
Date.now = () => realNow() + skew;

const { Client } = await import("../dist/index.js");
const { agent } = await import("./commands.mjs");

// Several clients may share the process: "client" says which one is meant.
const say = (event) => process.stdout.write(`${JSON.stringify(event)}\n`);
const all = [];
const tell = (m) => {
  const client = m.client ?? 0;
  all[client] ??= agent(Client, (event) => say(client ? { ...event, client } : event), { WebSocket, system });
  all[client].tell(m);
};

function system(m) {
  if (m.do === "clock") return void (skew += m.ms);
  online = m.do === "online";
  bus.dispatchEvent(new Event(m.do));
}

say({ event: "ready", client: "js", can: ["status", "date", "hold", "fail", "overlap", "topics", "publish", "friends", "rooms", "binary", "stream", "network", "clock"] });
for await (const line of createInterface({ input: process.stdin })) tell(JSON.parse(line));
await Promise.all(all.map((one) => one.close()));
