// Has npm socket.io-clients, as they are, play in a room whose messages are bytes.
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { io } from "socket.io-client";

import { line, sign } from "./access.mjs";
import { startStack } from "./stack.mjs";

const SAID = Buffer.from([0, 1, 254, 255]);

test("socket.io-clients in a room whose messages are bytes", { timeout: 120_000 }, async (t) => {
  const dir = await mkdtemp(join(tmpdir(), "homing-e2e-"));
  t.after(() => rm(dir, { recursive: true }));
  const classes = join(dir, "classes.yaml");
  await writeFile(classes, "classes:\n  - {name: raw, binary: true}\n");
  const stack = await startStack("-apis", "1", "-workers", "1", "-shards", "1", "-replicas", "0", "-rooms", `-front-arg=--room-classes=${classes}`);
  t.after(stack.stop);
  const [secret, key] = [stack.secret_file, stack.api_key_file].map(line);

  // enter has a user join its room.
  const enter = async (user, ticket, transports) => {
    const socket = io(stack.front.replace("ws", "http").replace("/ws", ""), { transports, auth: { token: sign(secret, { sub: user }) }, forceNew: true });
    await once(socket, "connect");
    const joined = once(socket, "joined");
    socket.emit("join", { ticket });
    await joined;
    return socket;
  };

  for (const transports of [["polling"], ["websocket"], ["polling", "websocket"]]) {
    await t.test(transports.join(", then "), async () => {
      const users = ["ann", "bob"].map((name) => `${name}-${transports.join("-")}`);
      const reply = await fetch(`${stack.apis[0]}/rooms`, {
        method: "POST", headers: { "Content-Type": "application/json", Authorization: `Bearer ${key}` },
        body: JSON.stringify({ class: "raw", users }),
      });
      const text = await reply.text();
      assert.ok(reply.ok, text);
      const tickets = Object.fromEntries(JSON.parse(text).seats.map(({ user, ticket }) => [user, ticket]));
      const [ann, bob] = await Promise.all(users.map((user) => enter(user, tickets[user], transports)));
      const heard = new Promise((resolve) => {
        const event = Buffer.concat([Buffer.from([SAID.length]), SAID]); // bytes go after their length
        bob.on("frame", (frame) => { if (Buffer.from(frame).includes(event)) resolve(); });
      });
      assert.deepEqual(await ann.timeout(10_000).emitWithAck("say", SAID), { t: "ok" });
      await heard;
      for (const socket of [ann, bob]) socket.disconnect();
    });
  }
});
