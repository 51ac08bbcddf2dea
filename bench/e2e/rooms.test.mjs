// The game's page four times, as `homing dev` serves it, in headless Chromium:
// the players meet in one room, lose a line, go along with the room, and play again.
// SCREENSHOTS names a folder for pictures of the pages.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { chromium } from "playwright-core";

import { startDev } from "./homing.mjs";

const USERS = ["ann", "bob", "carl", "dora"];
const PATIENCE = 40_000; // ms, for anything that must happen
const STEP = 250; // ms that a player walks one way

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

// Player is a user at a page of the game.
class Player {
  complaints = []; // what the page has put on its console

  constructor(user, page) {
    this.user = user;
    this.page = page;
    page.setDefaultTimeout(PATIENCE);
    page.on("console", (m) => { if (["error", "warning"].includes(m.type())) this.complaints.push(m.text()); });
    page.on("pageerror", (e) => this.complaints.push(e.message));
  }

  // knows is a part of what the page thinks.
  knows(...names) {
    return this.page.evaluate((names) => Object.fromEntries(names.map((name) => [name, window.demo[name]])), names);
  }

  until(check, arg) { return this.page.waitForFunction(check, arg); }

  playing() { return this.until(() => window.demo.phase === "playing" && window.demo.frames > 0); }

  click(name) { return this.page.getByRole("button", { name }).click(); }

  async chat(text) {
    const box = this.page.getByLabel("Say something to all");
    await box.fill(text);
    await box.press("Enter");
    await box.blur(); // so that keys are steps again
  }

  // wander walks about until signal says so.
  async wander(signal) {
    const ways = ["ArrowLeft", "ArrowDown", "ArrowRight", "ArrowUp"];
    for (let i = USERS.indexOf(this.user); !signal.aborted; i++) {
      await this.page.keyboard.down(ways[i % ways.length]);
      await this.page.waitForTimeout(STEP);
      await this.page.keyboard.up(ways[i % ways.length]);
    }
  }
}

const each = (players, act) => Promise.all(players.map(act));

async function open(t, user) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 } });
  t.after(() => context.close());
  const player = new Player(user, await context.newPage());
  await player.page.goto(`${homing.api}/demo?queue=brawl&user=${user}`);
  return player;
}

async function shoot(players, name) {
  if (!process.env.SCREENSHOTS) return;
  await each(players, (p) => p.page.screenshot({ path: join(process.env.SCREENSHOTS, `${name}-${p.user}.png`), fullPage: true }));
}

// signal says something to the game as its backend, again while the server is too
// busy for it.
async function signal(room, data) {
  const deadline = Date.now() + PATIENCE;
  for (;;) {
    const res = await fetch(`${homing.api}/rooms/${room}/signal`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ name: "create", data }),
    });
    const text = await res.text();
    if (res.status === 503 && Date.now() < deadline) {
      await sleep(500);
      continue;
    }
    assert.equal(res.status, 200, text);
    return;
  }
}

// together says that all play in one room, see all that is in it, and each its own
// hand only.
async function together(players) {
  await each(players, (p) => p.playing());
  await each(players, (p) => p.until((n) => Object.keys(window.demo.state).filter((key) => key.startsWith("who.")).length === n, players.length));
  const all = await each(players, (p) => p.knows("room", "seat", "epoch", "state"));
  assert.deepEqual(new Set(all.map((p) => p.seat)), new Set([0, 1, 2, 3]));
  for (const { room, seat, state } of all) {
    assert.equal(room, all[0].room);
    const keys = Object.keys(state);
    for (const key of ["guard.0", "bar", "coin.0", "game", "at.0", "at.1", "at.2", "at.3"]) assert.ok(keys.includes(key), `no ${key}: ${keys}`);
    assert.deepEqual(keys.filter((key) => key.startsWith("hand.")), [`hand.${seat}`]);
    for (const [i, other] of all.entries()) assert.equal(state[`who.${other.seat}`].user, USERS[i]);
  }
  return all;
}

// flawless says that no page has missed an event, or heard one twice.
async function flawless(players) {
  for (const p of players) {
    assert.deepEqual(await p.knows("repeats", "lost", "lastError"), { repeats: 0, lost: 0, lastError: "" }, p.user);
    assert.deepEqual(p.complaints, [], p.user);
  }
}

test("four players in one room", { timeout: 240_000 }, async (t) => {
  const players = await each(USERS, (user) => open(t, user));
  const [ann, bob, carl] = players;
  const seats = (await together(players)).map((p) => p.seat);
  const { room } = await ann.knows("room");
  await signal(room, { seconds: 600, goal: 1000 }); // it ends when this test says so
  await shoot(players, "begin");

  await t.test("what one does the others see", async () => {
    await ann.chat("hello all");
    await ann.page.locator("#hand button").first().click();
    for (const p of players) {
      const who = p === ann ? "you" : "ann";
      await p.page.getByText(`${who}: hello all`).waitFor();
      await p.page.getByText(new RegExp(`${who} played (dash|swap|turn)`)).waitFor();
      await p.until(() => { // the last line of the log is in sight
        const box = document.getElementById("log-box").getBoundingClientRect();
        return document.querySelector("#log li:last-child").getBoundingClientRect().bottom <= box.bottom + 1;
      });
    }
  });

  const stop = new AbortController();
  const walks = each(players, (p) => p.wander(stop.signal));
  t.after(() => stop.abort());

  await t.test("a cut line leads back into the seat", async () => {
    await bob.click("Cut the line");
    await bob.until(() => window.demo.phase === "lost");
    await ann.chat("come back");
    await bob.until(() => window.demo.phase === "playing" && window.demo.away > 0);
    await bob.page.getByText("ann: come back").waitFor();
    const { away, seat } = await bob.knows("away", "seat");
    assert.equal(seat, seats[1]);
    t.diagnostic(`the line was cut: ${away} ms without a frame`);
    await flawless(players);
  });

  await t.test("the room moves while all play", async () => {
    await ann.click("Move this room");
    await each(players, (p) => p.until(() => window.demo.moves === 1 && window.demo.phase === "playing" && window.demo.gap > 0));
    const there = await together(players);
    assert.deepEqual(there.map((p) => p.seat), seats);
    assert.deepEqual(there.map((p) => p.epoch), [2, 2, 2, 2]);
    const gaps = (await each(players, (p) => p.knows("gap"))).map((p) => p.gap);
    t.diagnostic(`the room has moved: ${gaps.join(", ")} ms without a frame`);
    for (const [i, { state }] of there.entries()) { // all go on walking, in the eyes of each other
      await players[(i + 1) % 4].until(([key, at]) => String(window.demo.state[key]) !== at, [`at.${seats[i]}`, String(state[`at.${seats[i]}`])]);
    }
    await flawless(players);
    await shoot(players, "moved");
  });

  await t.test("a reload leads back into the seat", async () => {
    await carl.page.reload();
    await together(players);
    assert.deepEqual(await carl.knows("room", "seat"), { room, seat: seats[2] });
  });

  stop.abort();
  await walks;

  await t.test("the game ends for all, and they play again", async () => {
    await signal(room, { seconds: 1 });
    for (const p of players) {
      await p.until(() => window.demo.phase === "lobby");
      const { result, closed } = await p.knows("result", "closed");
      assert.equal(closed, "the room is finished");
      assert.equal(result.why, "time");
      assert.deepEqual(result.scores.map((s) => s.user).sort(), USERS);
      assert.equal(await p.page.locator("#podium li").count(), 4);
    }
    await shoot(players, "over");
    await flawless(players);
    await each(players, (p) => p.click("Play again"));
    const [again] = await together(players);
    assert.notEqual(again.room, room);
  });
});
