// The examples of client/js/README.md, as they stand there: bundled by esbuild, with
// the real React and Phaser, in headless Chromium, against a real server. What stands
// around each is in examples.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";
import { chromium } from "playwright-core";
import WebSocket from "ws";

import { Client } from "../../client/js/dist/index.js";
import { startDev } from "./homing.mjs";

const PATIENCE = 60_000; // ms, for anything that must happen
const path = (name) => fileURLToPath(new URL(name, import.meta.url));

let homing;
let browser;
before(async () => {
  homing = await startDev();
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
});
after(async () => {
  await browser?.close();
  await homing?.stop();
});

// example is the code below a heading of the README's examples.
function example(name) {
  const text = readFileSync(path("../../client/js/README.md"), "utf8");
  return new RegExp(`^\\*\\*${name}\\.\\*\\*\\n+\`\`\`\\w+\\n(.*?)^\`\`\``, "ms").exec(text)[1];
}

async function token(user) {
  const reply = await fetch(`${homing.api}/dev/token?user=${user}`);
  return (await reply.text()).trim();
}

async function call(method, where, body) {
  const reply = await fetch(homing.api + where, { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  const text = await reply.text();
  assert.ok(reply.ok, `${where}: ${reply.status} ${text}`);
  return JSON.parse(text);
}

const notify = (user, data) => call("POST", "/notify", { users: [user], data });
const connections = async (user) => (await (await fetch(`${homing.api}/users/${user}`)).json()).connections;

async function until(what, is) {
  const late = Date.now() + PATIENCE;
  while (!(await is())) {
    assert.ok(Date.now() < late, `waited for ${what}`);
    await sleep(20);
  }
}

// bundle joins an example with what stands around it, as a game's own build would.
async function bundle(t, around, file, code) {
  const folder = mkdtempSync(join(tmpdir(), "example-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  writeFileSync(join(folder, around), readFileSync(path(`examples/${around}`)));
  writeFileSync(join(folder, file), code);
  const { outputFiles: [{ contents }] } = await build({
    entryPoints: [join(folder, around)], bundle: true, write: false, format: "iife", jsx: "automatic",
    define: { "process.env.NODE_ENV": '"development"' }, // in which React mounts twice
    nodePaths: [path("node_modules")], alias: { "homing-client": path("../../client/js/dist/index.js") },
  });
  return contents;
}

// watch counts the WebSockets that a page opens, and knows the timers that are set.
function watch() {
  window.sockets = [];
  const { WebSocket: Real, setTimeout: set, clearTimeout: clear, setInterval: begin, clearInterval: end } = window;
  window.WebSocket = class extends Real {
    constructor(...args) { super(...args); window.sockets.push(this); }
  };
  window.timers = new Map(); // delays by their ids
  window.setTimeout = (f, ms, ...args) => {
    const id = set(() => { window.timers.delete(id); f(...args); }, ms);
    window.timers.set(id, ms);
    return id;
  };
  window.setInterval = (f, ms, ...args) => {
    const id = begin(f, ms, ...args);
    window.timers.set(id, ms);
    return id;
  };
  window.clearTimeout = (id) => { window.timers.delete(id); clear(id); };
  window.clearInterval = (id) => { window.timers.delete(id); end(id); };
}

// open serves a script as a page of user's, and opens it.
async function open(t, user, script) {
  const pages = { "/": ["text/html", '<!doctype html><link rel="icon" href="data:,"><div id="root"></div><script src="page.js"></script>'], "/page.js": ["text/javascript", script] };
  const server = createServer(async (request, response) => {
    const [type, body] = request.url === "/token" ? ["text/plain", await token(user)] : pages[request.url];
    response.writeHead(200, { "Content-Type": type }).end(body);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => { server.closeAllConnections(); server.close(); });
  const page = await browser.newPage();
  t.after(() => page.close());
  page.setDefaultTimeout(PATIENCE);
  page.complaints = [];
  page.on("console", (m) => { if (["error", "warning"].includes(m.type())) page.complaints.push(m.text()); });
  page.on("pageerror", (e) => page.complaints.push(e.message));
  await page.addInitScript(watch);
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  return page;
}

const sockets = (page) => page.evaluate(() => window.sockets.map((s) => s.readyState));
const timers = (page) => page.evaluate(() => [...window.timers.values()]);

test("React, mounted twice, at another address, and unmounted", { timeout: 120_000 }, async (t) => {
  const page = await open(t, "rea", await bundle(t, "react.jsx", "example.jsx", example("React")));
  await page.evaluate((url) => window.show(url), homing.front);
  await page.getByText("open", { exact: true }).waitFor();
  assert.deepEqual(await sockets(page), [1], "StrictMode leaves one connection, and has opened no other");
  await until("the server to know of it", async () => (await connections("rea")) === 1);
  assert.equal((await timers(page)).length, 1, "the one that watches the connection");
  await notify("rea", "sword");
  await page.getByRole("listitem").getByText("sword").waitFor();
  assert.deepEqual(await page.evaluate(() => window.states.filter((s) => s === "closed")), [], "the client that has gone tells nothing");

  await page.evaluate((url) => { window.states = []; window.show(`${url}?x=1`); }, homing.front);
  await until("the other connection", async () => (await sockets(page)).join() === "3,1");
  await page.getByText("open", { exact: true }).waitFor();
  await until("one connection", async () => (await connections("rea")) === 1);
  await notify("rea", "bow");
  await page.getByRole("listitem").getByText("bow").waitFor();
  assert.deepEqual(await page.evaluate(() => window.states.filter((s) => s === "closed")), []);

  await page.evaluate(() => window.unmount());
  await until("its end", async () => (await sockets(page)).every((s) => s === 3));
  await until("no timer", async () => (await timers(page)).length === 0);
  await until("the server to know of it", async () => (await connections("rea")) === 0);
  assert.deepEqual(page.complaints, []);
});

test("Node, until it is told to end", { timeout: 120_000 }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "example-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  symlinkSync(path("node_modules"), join(folder, "node_modules"));
  const client = JSON.stringify(new URL("../../client/js/dist/index.js", import.meta.url).href);
  writeFileSync(join(folder, "a.mjs"), example("Node").replace("ws://127.0.0.1:8081/ws", homing.front).replace('"homing-client"', client));
  const child = spawn(process.execPath, [join(folder, "a.mjs")], { env: { ...process.env, TOKEN: await token("nod") }, stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => child.kill("SIGKILL"));
  await until("a connection", async () => (await connections("nod")) === 1);
  const said = once(createInterface(child.stdout), "line");
  const { id } = await notify("nod", "sword");
  assert.deepEqual(await said, [`${id} sword`]);
  child.kill("SIGTERM");
  assert.deepEqual(await once(child, "exit"), [0, null]);
});

// match has two players in a room, ann in a page and bob here.
async function match(t, script) {
  const page = await open(t, "ann", script);
  const { url, seats } = await call("POST", "/rooms", { class: "duel", users: ["ann", "bob"] });
  const bob = new Client({ url: homing.front, WebSocket, token: () => token("bob") });
  t.after(() => bob.close());
  const room = bob.join({ url, ticket: seats[1].ticket });
  await page.evaluate(([front, seat]) => window.play(front, seat), [homing.front, { url, ticket: seats[0].ticket }]);
  await until("both", () => page.evaluate(() => window.at === "match" && window.client.status.state === "open" && Object.keys(window.places).length > 1));
  await until("bob's word", () => room.say({ chat: "hi" }));
  await until("it is heard", () => page.evaluate(() => window.happened.some((e) => e.data?.text === "hi")));
  await notify("ann", "sword");
  await until("a notification", () => page.evaluate(() => window.heard.join() === "sword"));
  assert.equal(await connections("ann"), 1, "one connection for both");
  return { page, room };
}

test("Phaser, in a room that ends, and in one that is left for the menu", { timeout: 120_000 }, async (t) => {
  const script = await bundle(t, "phaser.js", "example.js", example("Phaser"));
  const { page, room } = await match(t, script);
  await call("POST", `/rooms/${room.info.room}/finish`, {});
  await until("the end", () => page.evaluate(() => window.at === "over: finished"));
  assert.deepEqual(page.complaints, []);
  await page.close();

  await until("ann has gone", async () => (await connections("ann")) === 0);
  const second = await match(t, script);
  await second.page.evaluate(() => window.toMenu());
  await until("the menu", () => second.page.evaluate(() => window.at === "menu"));
  await until("her seat is free", async () => (await (await fetch(`${homing.api}/rooms/${second.room.info.room}`)).json()).seats.length === 1);
  second.room.say({ chat: "still there?" });
  await notify("ann", "bow");
  await until("a notification", () => second.page.evaluate(() => window.heard.join() === "sword,bow"));
  assert.deepEqual(await second.page.evaluate(() => [window.at, window.late]), ["menu", []]);
  assert.deepEqual(second.page.complaints, []);
});
