// Lets the npm socket.io-client of version 2, as it is, talk to Homing, which speaks
// Engine.IO 3 when it is told to.
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import io from "socket.io-client-2";
import { startDev } from "./homing.mjs";

async function token(homing, user) {
  return (await (await fetch(`${homing.api}/dev/token?user=${user}`)).text()).trim();
}

async function notify(homing, body) {
  const reply = await fetch(`${homing.api}/notify`, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  });
  assert.ok(reply.ok, await reply.text());
}

const address = (homing) => homing.front.replace("ws", "http").replace("/ws", "");
const emit = (socket, ...args) => new Promise((resolve) => socket.emit(...args, resolve));

test("an unmodified socket.io-client 2", { timeout: 120_000 }, async (t) => {
  const homing = await startDev("--engineio3");
  t.after(homing.stop);
  for (const transports of [["websocket"], ["polling"], ["polling", "websocket"]]) {
    await t.test(`${transports.join("+")}: hears notifications, and is answered`, async () => {
      const user = `ann-${transports.join("-")}`;
      const socket = io(address(homing), { transports, query: { token: await token(homing, user) }, forceNew: true });
      t.after(() => socket.close());
      const hello = once(socket, "hello");
      await once(socket, "connect");
      assert.equal((await hello)[0].user, user);
      if (transports.length > 1 && socket.io.engine.transport.name !== "websocket") await once(socket.io.engine, "upgrade");
      for (const data of [{ text: "grüße \u2028 😀" }, "behind it"]) {
        const heard = once(socket, "notify");
        await notify(homing, { users: [user], type: "gift", data });
        assert.deepEqual((await heard)[0].data, data);
      }
      assert.deepEqual(await emit(socket, "say", { data: 1 }), { t: "error", of: "say", code: "no_room" });
      const kept = once(socket, "notify");
      await notify(homing, { users: [user], id: `${user}-mail`, store: "1h", data: 1 });
      assert.equal((await kept)[0].id, `${user}-mail`);
      assert.equal((await emit(socket, "resume", { after: "" })).count, 1);
      assert.deepEqual(await emit(socket, "ack", { id: `${user}-mail` }), { t: "ok" });
      assert.deepEqual(await emit(socket, "subscribe", { topic: "guild:7" }), { t: "subscribed", topic: "guild:7" });
      socket.close();
    });
    await t.test(`${transports.join("+")}: is told when its token is not accepted`, async () => {
      const socket = io(address(homing), { transports, query: { token: "a.b.c" }, forceNew: true });
      t.after(() => socket.close());
      const [err] = await once(socket, "error");
      assert.equal(err.data.code, "token_malformed");
      socket.close();
    });
  }
});

test("without the switch clients of Socket.IO 2 are refused", { timeout: 60_000 }, async (t) => {
  const homing = await startDev();
  t.after(homing.stop);
  const res = await fetch(`${address(homing)}/socket.io/?EIO=3&transport=polling`);
  assert.equal(res.status, 400);
  assert.equal((await res.json()).code, 5);
});
