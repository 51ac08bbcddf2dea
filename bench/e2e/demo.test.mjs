// The game's page, as `homing dev` serves it, in headless Chromium, against a
// room that the test plays: every message of the protocol, and every refusal.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { chromium } from "playwright-core";

import { startDev } from "./homing.mjs";

let homing;
let browser;
before(async () => {
  homing = await startDev();
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
});
after(async () => {
  await browser?.close();
  await homing?.stop();
});

// Table is the other end of a page's sockets: what comes is kept, and each new
// socket is said hello.
class Table {
  sockets = []; // urls, oldest first
  #said = [];
  #waiters = [];
  #ws;

  async open(t, user = "ann") {
    const context = await browser.newContext();
    t.after(() => context.close());
    this.page = await context.newPage();
    this.page.setDefaultTimeout(10_000);
    await this.page.routeWebSocket(/\/ws/, (ws) => {
      this.#ws = ws;
      this.sockets.push(new URL(ws.url()));
      ws.onMessage((text) => this.#take(JSON.parse(text)));
      this.send({ t: "hello", user, conn: "test", ping: 25_000 });
    });
    await this.page.goto(`${homing.api}/demo?user=${user}`);
  }

  #take(m) {
    this.#said.push(m);
    for (const waiter of this.#waiters.splice(0)) waiter();
  }

  send(m) { this.#ws.send(JSON.stringify(m)); }

  close(code) { return this.#ws.close({ code }); }

  // said is the next message of that kind.
  async said(kind) {
    for (;;) {
      const i = this.#said.findIndex((m) => m.t === kind);
      if (i >= 0) return this.#said.splice(i, 1)[0];
      await new Promise((resolve) => this.#waiters.push(resolve));
    }
  }

  get(name) { return this.page.evaluate((name) => window.demo[name], name); }

  // until waits for what the page thinks of something.
  until(name, value) {
    return this.page.waitForFunction(([name, value]) => window.demo[name] === value, [name, value]);
  }

  async matched(url = homing.front) {
    const { ref, queue } = await this.said("match");
    assert.equal(queue, "duel");
    this.send({ t: "ok", ref });
    this.send({ t: "notify", id: "m1:ann", type: "match.found", from: "homing", data: { match: "m1", queue, room: "r1", url, ticket: "first", team: 0, players: ["ann", "bob"] } });
  }

  async seated(epoch = 1) {
    const m = await this.said("join");
    this.send({ t: "joined", room: "r1", class: "duel", seat: 1, hz: 20, binary: false, epoch, ticket: `ticket-${epoch}`, ref: m.ref });
    return m;
  }
}

const first = {
  t: "frame", tick: 5, recovered: true,
  events: [{ n: 3, from: "ann", data: { is: "came" } }],
  state: {
    "who.0": { user: "bob", score: 2 }, "at.0": [100, 100], "who.1": { user: "ann", score: 1 }, "at.1": [300, 60],
    "hand.1": [{ id: 71, card: "swap" }], "guard.0": [500, 300], "coin.0": [50, 300],
    bar: { angle: 0, turn: 1, since: 0 }, game: { ends: 1800, goal: 15, seats: 4 },
  },
};

async function playing(t) {
  const table = new Table();
  await table.open(t);
  await table.matched(`${homing.front}?zone=1`);
  const { ticket, n } = await table.seated();
  assert.deepEqual({ ticket, n }, { ticket: "first", n: undefined });
  table.send(first);
  await table.until("phase", "playing");
  await table.until("n", 3);
  return table;
}

test("a match leads into a seat", { timeout: 60_000 }, async (t) => {
  const table = await playing(t);
  const [lobby, room] = table.sockets;
  assert.equal(lobby.search, "");
  assert.equal(room.search, "?zone=1&room=first"); // the url's own query stays
  const { page } = table;
  await page.getByText("2 coins").waitFor();
  await page.getByRole("button", { name: /^Play swap/ }).click();
  assert.deepEqual((await table.said("say")).data, { play: 71 });
  await page.keyboard.down("ArrowLeft");
  assert.deepEqual((await table.said("say")).data, { move: [-100, 0] });
  assert.deepEqual((await table.said("say")).data, { move: [-100, 0] }, "a heading that lasts is said again");
  await page.keyboard.up("ArrowLeft");
  for (;;) if (String((await table.said("say")).data.move) === "0,0") break;
  await page.getByLabel("Say something to all").fill("w hi"); // letters are no steps
  await page.keyboard.press("Enter");
  assert.deepEqual((await table.said("say")).data, { chat: "w hi" });
  table.send({ t: "frame", tick: 6, events: [{ n: 4, from: "bob", data: { is: "chat", text: "<b>ho</b>" } }], state: { "who.0": null, "at.0": null } });
  await page.getByText("bob: <b>ho</b>").waitFor();
  await table.until("n", 4);
  assert.equal((await table.get("state"))["who.0"], undefined);
  assert.deepEqual(await table.get("players"), ["bob", "ann"]);
});

test("a cut line leads back into the seat", { timeout: 60_000 }, async (t) => {
  const table = await playing(t);
  await table.page.getByRole("button", { name: "Cut the line" }).click();
  await table.until("phase", "lost");
  const { ticket, n } = await table.seated();
  assert.deepEqual({ ticket, n }, { ticket: "ticket-1", n: 3 });
  assert.equal(table.sockets.at(-1).searchParams.get("room"), "ticket-1");
  table.send({ t: "frame", tick: 40, recovered: false, events: [{ n: 3, data: {} }, { n: 9, data: { is: "left" }, from: "bob" }], state: { "who.1": { user: "ann", score: 1 } } });
  await table.until("n", 9);
  assert.deepEqual(Object.keys(await table.get("state")), ["who.1"], "a first frame has all the states there are");
  assert.deepEqual([await table.get("repeats"), await table.get("lost")], [1, 1]);
  assert.ok(await table.get("away") > 1000);
});

test("a room that moves is followed", { timeout: 60_000 }, async (t) => {
  const table = await playing(t);
  const there = homing.front.replace(/:\d+/, ":9");
  table.send({ t: "moved", room: "r1", url: there, ticket: "moved-1" });
  const { ticket, n } = await table.seated(2);
  assert.deepEqual({ ticket, n }, { ticket: "moved-1", n: 3 });
  assert.equal(table.sockets.at(-1).href, `${there}?room=moved-1`);
  table.send({ ...first, tick: 6, events: [] });
  await table.until("phase", "playing");
  await table.until("epoch", 2);
  await table.until("moves", 1);
  await table.page.waitForFunction(() => window.demo.gap > 0);
  // Where the room was does not answer any more: it is looked for at the front.
  for (let i = 0; table.sockets.at(-1).port === "9"; i++) {
    assert.ok(i < 5);
    const count = table.sockets.length;
    await table.close(1011);
    while (table.sockets.length === count) await table.page.waitForTimeout(50);
  }
  assert.equal(table.sockets.at(-1).href, `${homing.front}?room=ticket-2`);
});

test("an end is told", { timeout: 60_000 }, async (t) => {
  const table = await playing(t);
  const result = { why: "goal", scores: [{ user: "bob", score: 15 }, { user: "ann", score: 1 }] };
  table.send({ t: "frame", tick: 9, events: [{ n: 5, data: { is: "over", result } }] });
  table.send({ t: "left", room: "r1", why: "closed", reason: "finished" });
  await table.page.getByText("bob wins").waitFor();
  assert.deepEqual(await table.get("result"), result);
  await table.page.getByRole("button", { name: "Play again" }).click();
  await table.matched();
});

test("leaving is answered, and the seat is not asked for again", { timeout: 60_000 }, async (t) => {
  const table = await playing(t);
  await table.page.getByRole("button", { name: "Leave" }).click();
  table.send({ t: "ok", ref: (await table.said("leave")).ref });
  table.send({ t: "left", room: "r1", why: "left" });
  await table.page.getByText("You have left", { exact: true }).waitFor();
  await table.page.reload();
  assert.equal((await table.said("match")).queue, "duel");
});

test("a reload leads back into the seat", { timeout: 60_000 }, async (t) => {
  const table = await playing(t);
  await table.page.reload();
  const { ticket, n } = await table.seated();
  assert.deepEqual({ ticket, n }, { ticket: "ticket-1", n: undefined });
});

test("refusals", { timeout: 60_000 }, async (t) => {
  const table = new Table();
  await table.open(t);
  const { ref } = await table.said("match");
  table.send({ t: "error", of: "match", code: "unavailable", ref });
  await table.matched(); // asked again
  let join = await table.said("join");
  table.send({ t: "error", of: "join", code: "unavailable", ref: join.ref });
  join = await table.said("join");
  assert.equal(join.ticket, "first");
  table.send({ t: "error", of: "join", code: "room_ended", reason: "finished", ref: join.ref });
  await table.page.getByText("The room is finished", { exact: true }).waitFor();
  assert.equal(await table.get("lastError"), "join room_ended");
  await table.page.getByRole("button", { name: "Play again" }).click();
  table.send({ t: "error", code: "unknown_type", ref: (await table.said("match")).ref });
  await table.page.getByText("No match: unknown_type").waitFor();
});

test("another page takes the seat", { timeout: 60_000 }, async (t) => {
  const table = await playing(t);
  table.send({ t: "left", room: "r1", why: "replaced" });
  await table.page.getByText("Another page has taken this seat", { exact: true }).waitFor();
  await table.until("phase", "lobby");
});
