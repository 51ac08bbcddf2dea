// The chat of deploy/examples, before and after: the same happens in both.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createConnection } from "node:net";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { freePort, startDev } from "./homing.mjs";

const folder = new URL("../../deploy/examples/chat/", import.meta.url);

async function until(what, ok) {
  for (let left = 400; !(await ok()); left--) {
    assert.ok(left > 0, `waited 20 s for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function start(t, command, args, env, ready) {
  const child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "inherit"] });
  t.after(async () => {
    child.kill();
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  });
  if (ready) assert.equal((await once(createInterface(child.stdout), "line"))[0], ready);
  return child;
}

async function serve(t, file, env) {
  const port = await freePort();
  await start(t, process.execPath, [fileURLToPath(new URL(file, folder))], { ...env, PORT: String(port) }, "ready");
  return `http://127.0.0.1:${port}`;
}

async function redis(t) {
  const port = await freePort();
  await start(t, "redis-server", ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"], {});
  await until("redis-server", () => new Promise((resolve) => {
    const c = createConnection(port, "127.0.0.1");
    c.once("connect", () => { c.destroy(); resolve(true); }).once("error", () => resolve(false));
  }));
  return `redis://127.0.0.1:${port}`;
}

// play has two players chat, and returns what each heard. places are where each
// connects and speaks to.
async function play(enter, places, announce) {
  const players = await Promise.all(["ann", "bob"].map(async (user, i) => {
    const got = [];
    const p = await enter({ ...places[i], token: `session-of-${user}`, guild: "7", heard: (line) => got.push(`${line.user}: ${line.text}`), announced: (x) => got.push(`! ${x.text}`) });
    return { ...p, got };
  }));
  const [ann, bob] = players;
  const all = (n) => until(`${n} lines`, () => players.every((p) => p.got.length >= n));
  assert.deepEqual(await ann.say("hi, grüße"), { ok: true });
  await all(1);
  assert.deepEqual(await bob.say("hi ann"), { ok: true });
  await all(2);
  await announce({ text: "maintenance at noon" });
  await all(3);
  return players;
}

const transcript = ["ann: hi, grüße", "bob: hi ann", "! maintenance at noon"];

test("the chat of the guide, before", { timeout: 120_000 }, async (t) => {
  const { enter } = await import(new URL("before-client.mjs", folder));
  const REDIS = await redis(t);
  const servers = [await serve(t, "before.mjs", { REDIS }), await serve(t, "before.mjs", { REDIS })];
  const players = await play(enter, servers.map((server) => ({ server })), (x) => fetch(`${servers[0]}/announce`, { method: "POST", body: JSON.stringify(x) }));
  for (const p of players) {
    assert.deepEqual(p.got, transcript);
    p.leave();
  }
  await assert.rejects(enter({ server: servers[0], token: "nobody", guild: "7" }), /unauthorized/);
});

test("the chat of the guide, after", { timeout: 120_000 }, async (t) => {
  const { enter } = await import(new URL("after-client.mjs", folder));
  const homing = await startDev();
  t.after(homing.stop);
  const backends = [await serve(t, "after.mjs", { API: homing.api }), await serve(t, "after.mjs", { API: homing.api })];
  const server = homing.front.replace("ws", "http").replace("/ws", "");
  const homingToken = async (user) => (await (await fetch(`${homing.api}/dev/token?user=${user}`)).text()).trim();
  const places = await Promise.all(["ann", "bob"].map(async (user, i) => ({ server, backend: backends[i], homingToken: await homingToken(user) })));
  const players = await play(enter, places, (x) => fetch(`${backends[0]}/announce`, { method: "POST", body: JSON.stringify(x) }));
  for (const p of players) assert.deepEqual(p.got, transcript);

  // Bob's connection is lost; what is said meanwhile is not.
  const [ann, bob] = players;
  const gone = once(bob.socket, "disconnect");
  bob.socket.io.engine.close();
  await gone;
  await ann.say("still there?");
  await until("bob to be told", () => bob.got.length === 4);
  await ann.say("good");
  await until("all", () => bob.got.length === 5 && ann.got.length === 5);
  assert.deepEqual(bob.got, [...transcript, "ann: still there?", "ann: good"]);
  assert.deepEqual(ann.got, bob.got);

  const res = await fetch(`${backends[1]}/chat`, { method: "POST", headers: { Authorization: "Bearer session-of-mallory" }, body: JSON.stringify({ guild: "7", text: "x" }) });
  assert.deepEqual(await res.json(), { error: "not_allowed" });
  for (const p of players) p.leave();
  await assert.rejects(enter({ ...places[0], homingToken: "a.b.c", token: "", guild: "7" }), /JSON Web Token/);
});
