// Lets the npm socket.io-client, as it is, talk to Homing.
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { io } from "socket.io-client";
import { startDev } from "./homing.mjs";

const TRANSPORTS = (process.env.TRANSPORTS ?? "websocket polling polling+websocket").split(" ").map((t) => t.split("+"));

async function token(homing, user) {
  return (await (await fetch(`${homing.api}/dev/token?user=${user}`)).text()).trim();
}

async function notify(homing, body) {
  const reply = await fetch(`${homing.api}/notify`, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  });
  assert.ok(reply.ok, await reply.text());
}

// open connects, and gathers what comes.
async function open(homing, user, transports) {
  const auth = { token: await token(homing, user) };
  const socket = io(homing.front.replace("ws", "http").replace("/ws", ""), { transports, auth, reconnectionDelay: 200, forceNew: true });
  const got = [];
  socket.on("notify", (message, offset) => got.push({ ...message, offset }));
  const hello = once(socket, "hello");
  await once(socket, "connect");
  assert.equal((await hello)[0].user, user);
  return { socket, got };
}

async function until(what, ok) {
  for (let left = 200; !ok(); left--) {
    assert.ok(left > 0, `waited 10 s for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

test("an unmodified socket.io-client", { timeout: 240_000 }, async (t) => {
  const homing = await startDev();
  t.after(homing.stop);
  for (const transports of TRANSPORTS) {
    const as = transports.join("-");
    await t.test(`${as}: hears notifications, and is answered`, async () => {
      const { socket, got } = await open(homing, `ann-${as}`, transports);
      await notify(homing, { users: [`ann-${as}`], type: "gift", data: { gift: "sword", text: "grüße \u2028" } });
      await until("the notification", () => got.length === 1);
      assert.deepEqual(got[0].data, { gift: "sword", text: "grüße \u2028" });
      assert.equal(got[0].offset, undefined);
      assert.deepEqual(await socket.timeout(5000).emitWithAck("ping"), { t: "ok" });
      assert.deepEqual(await socket.timeout(5000).emitWithAck("say", { data: 1 }), { t: "error", of: "say", code: "no_room" });
      assert.equal((await socket.timeout(5000).emitWithAck("resume", { after: "" })).t, "resumed");
      socket.disconnect();
    });
    await t.test(`${as}: recovers what it has missed, twice`, async () => {
      const user = `bob-${as}`;
      const { socket, got } = await open(homing, user, transports);
      let sent = 0;
      const store = () => notify(homing, { users: [user], id: `${user}-${++sent}`, store: "1h", data: sent });
      const ids = () => got.map((m) => m.id); // each once
      for (let round = 0; round < 3; round++) { // the first before anything was received
        const gone = once(socket, "disconnect");
        const back = once(socket, "connect");
        socket.io.engine.close();
        await gone;
        await store();
        await store();
        await back;
        assert.equal(socket.recovered, true, `round ${round}`);
        await until("what was missed", () => ids().length === sent);
        assert.deepEqual(ids(), Array.from({ length: sent }, (_, i) => `${user}-${i + 1}`));
      }
      socket.disconnect();
    });
    await t.test(`${as}: is told when its token is not accepted, and when it is thrown out`, async () => {
      const refused = io(homing.front.replace("ws", "http").replace("/ws", ""), { transports, auth: { token: "a.b.c" }, forceNew: true });
      const [err] = await once(refused, "connect_error");
      assert.equal(err.data.code, "token_malformed");
      refused.disconnect();
      const { socket } = await open(homing, `eve-${as}`, transports);
      const closing = once(socket, "closing");
      await fetch(`${homing.api}/users/eve-${as}/connections`, { method: "DELETE" });
      assert.equal((await closing)[0].code, 4003);
      if (socket.connected) await once(socket, "disconnect");
      assert.equal(socket.active, false, "it does not come back by itself");
    });
  }
});

test("socket.io-clients that lose their connections at random miss nothing", { timeout: 120_000 }, async (t) => {
  const homing = await startDev();
  t.after(homing.stop);
  const NOTIFICATIONS = 100;
  const clients = await Promise.all(Array.from({ length: 15 }, (_, i) => open(homing, `c${i}`, TRANSPORTS[i % TRANSPORTS.length])));
  const users = clients.map((_, i) => `c${i}`);
  let lost = 0;
  for (let n = 0; n < NOTIFICATIONS; n++) {
    await notify(homing, { users, id: `n${n}`, store: "1h", data: n });
    const { socket } = clients[Math.floor(Math.random() * clients.length)];
    if (socket.connected) { // one that is about to connect would wait for its own timeout
      socket.io.engine.close();
      lost++;
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.ok(lost > NOTIFICATIONS / 4, `${lost} connections were lost`);
  const last = ({ got }) => got.at(-1)?.data === NOTIFICATIONS - 1;
  await until("everything to be read", () => clients.every(last));
  for (const c of clients) {
    assert.deepEqual(c.got.map((m) => m.data), Array.from({ length: NOTIFICATIONS }, (_, n) => n), "each once, in order");
    c.socket.disconnect();
  }
});
