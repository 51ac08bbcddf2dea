// The client for C#, under Mono, against real servers: through a small journey of cuts,
// a killed worker, a failover of pub/sub and a rolling restart; and in a room that moves.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import { startDev } from "./homing.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));
const binary = process.env.HOMING_BIN ?? join(root, "bin/homing");
const LIMIT = 300_000; // ms, of a test
const PATIENCE = 60_000; // ms, for anything that must happen

const hasMono = spawnSync("mcs", ["--version"]).status === 0 && spawnSync("mono", ["--version"]).status === 0;
const skip = !hasMono && !process.env.CI && "Mono is missing: tools/setup mono";

let out;
before(() => {
  if (skip) return;
  out = mkdtempSync(join(tmpdir(), "homing-csharp-"));
  const build = spawnSync(join(root, "client/csharp/Tests~/build"), [out], { encoding: "utf8" });
  assert.equal(build.status, 0, build.stdout + build.stderr + build.error);
});
after(() => out && rmSync(out, { recursive: true }));

test("a C# client goes through cuts, a kill, a failover and a restart", { timeout: LIMIT, skip }, async () => {
  const journey = spawn("go", [
    "run", "./bench/e2e/journey", "-binary", binary, "-clients", "3", "-cuts", "9", "-kills", "1", "-publish", "--",
    "mono", join(out, "agent.exe"),
  ], { cwd: root, stdio: ["ignore", "inherit", "inherit"] });
  const [code] = await once(journey, "exit");
  assert.equal(code, 0, "every notification was given once and in order");
});

// Agent is a player, by the words of client/conformance.
class Agent {
  said = [];

  constructor(user, homing) {
    this.user = user;
    this.homing = homing;
    this.process = spawn("mono", ["--debug", join(out, "agent.exe")], { stdio: ["pipe", "pipe", "inherit"] });
    this.ended = once(this.process, "exit");
    createInterface({ input: this.process.stdout }).on("line", (line) => this.said.push(JSON.parse(line)));
  }

  async start() {
    const token = (await (await fetch(`${this.homing.api}/dev/token?user=${this.user}`)).text()).trim();
    this.tell({ do: "start", url: this.homing.front, tokens: [token] });
    await this.until("open", () => this.all("state").some((e) => e.state === "open"));
  }

  tell(command) { this.process.stdin.write(`${JSON.stringify(command)}\n`); }

  all(event) { return this.said.filter((e) => e.event === event); }

  numbers() { return this.all("frame").flatMap((f) => f.events); }

  async until(what, holds) {
    for (const late = Date.now() + PATIENCE; !holds(); await sleep(50)) {
      assert.ok(Date.now() < late, `${this.user}: no ${what}: ${JSON.stringify(this.said.slice(-5))}`);
    }
  }

  async stop() {
    this.process.stdin.end();
    const [code] = await this.ended;
    assert.equal(code, 0, `${this.user} leaves nothing behind`);
  }
}

test("C# players in a room that moves", { timeout: LIMIT, skip }, async (t) => {
  const homing = await startDev();
  t.after(() => homing.stop());
  const call = async (path, body) => {
    const ask = () => fetch(`${homing.api}${path}`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    let reply = await ask();
    for (const end = Date.now() + 10_000; reply.status === 503 && Date.now() < end; reply = await ask()) {
      await new Promise((resolve) => setTimeout(resolve, 100)); // it has just started
    }
    const text = await reply.text();
    assert.ok(reply.ok, `${path}: ${reply.status} ${text}`);
    return JSON.parse(text);
  };
  const players = ["ann", "bob"].map((user) => new Agent(user, homing));
  t.after(() => players.forEach((p) => p.process.kill()));
  await Promise.all(players.map((p) => p.start()));
  const room = await call("/rooms", { id: "r-7", class: "relay", users: players.map((p) => p.user) });
  for (const p of players) {
    const seat = room.seats?.find((s) => s.user === p.user) ?? room.tickets?.find((s) => s.user === p.user);
    p.tell({ do: "join", url: room.url, ticket: seat.ticket });
    await p.until("seat", () => p.all("joined").length === 1);
  }
  const [ann, bob] = players;
  const heard = async (n) => {
    const before = players.map((p) => p.numbers().length);
    ann.tell({ do: "say", data: { say: n } });
    for (const [i, p] of players.entries()) if (p !== ann) await p.until(`word ${n}`, () => p.numbers().length > before[i]);
  };
  await heard(1);
  await call("/rooms/r-7/move", {});
  for (const p of players) await p.until("the move", () => p.all("joined").length === 2);
  await heard(2);
  const numbers = bob.numbers();
  assert.deepEqual(numbers, [...new Set(numbers)].sort((a, b) => a - b), "each event once and in order");
  bob.tell({ do: "leave" });
  await bob.until("the end", () => bob.all("left").some((e) => e.why === "left"));
  await call("/notify", { users: ["bob"], type: "n", data: "still here" });
  await bob.until("a notification", () => bob.all("notify").some((e) => e.data === "still here"));
  for (const p of players) await p.stop();
});
