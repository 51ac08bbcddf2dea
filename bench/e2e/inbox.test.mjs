// Polls an inbox of a running `homing dev` with nothing but HTTP.
import assert from "node:assert/strict";
import { test } from "node:test";
import { startDev } from "./homing.mjs";

test("a client that polls its inbox", { timeout: 60_000 }, async (t) => {
  const homing = await startDev();
  t.after(homing.stop);
  const front = homing.front.replace("ws", "http").replace("/ws", "");
  const token = (await (await fetch(`${homing.api}/dev/token?user=ann`)).text()).trim();
  const store = async (data, more = { store: "1h" }) => {
    const res = await fetch(`${homing.api}/notify`, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ users: ["ann"], id: `n${data}`, class: "droppable", data, ...more }),
    });
    assert.ok(res.ok, await res.text());
  };
  const pull = async (query) => {
    const res = await fetch(`${front}/inbox?${query}`, { headers: { Authorization: `Bearer ${token}` } });
    const body = await res.json();
    assert.equal(res.status, 200, JSON.stringify(body));
    return body;
  };
  let next = "after=";
  const seen = new Set();
  // fresh asks, and returns the data of what has not come before.
  const fresh = async (more = "") => {
    const page = await pull(next + more);
    next = page.next;
    assert.equal(page.recovered, true);
    return page.notifications.filter((n) => !seen.has(n.id) && seen.add(n.id)).map((n) => n.data);
  };

  assert.deepEqual(await fresh(), [], "there is nothing");
  for (let i = 1; i <= 5; i++) await store(i);
  assert.deepEqual(await fresh("&count=2"), [1, 2]);
  assert.deepEqual(await fresh("&count=2"), [3, 4]);
  assert.deepEqual(await fresh("&count=2"), [5]);
  assert.deepEqual(await fresh(), [], "only repeats, which have the same id");

  const waiting = fresh("&wait=30");
  const online = async () => (await (await fetch(`${homing.api}/users/ann`)).json()).online;
  for (let left = 100; !(await online()); left--) {
    assert.ok(left > 0, "who waits is online");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await store(6);
  assert.deepEqual(await waiting, [6]);
  assert.deepEqual(await fresh("&wait=1"), [], "nothing comes in a second");

  await store(7);
  assert.deepEqual(await fresh(), [7]);
  const other = await pull("after=unknown");
  assert.equal(other.recovered, false, "nobody knows what came since then");
});
