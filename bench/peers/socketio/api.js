// The API: POST /notify sends to the rooms of all users named, through Redis.
import { timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

import { Emitter } from "@socket.io/redis-emitter";
import { ulid } from "ulid";

import { answer, connect, listen, options } from "./common.js";

const MAX_BODY = 1 << 20; // bytes

const { port, redis, secret } = options("key-file");
const pub = connect(redis);
const emitter = new Emitter(pub);
const expected = Buffer.from(`Bearer ${secret}`);

function authorized(req) {
  const given = Buffer.from(req.headers.authorization ?? "");
  return given.length === expected.length && timingSafeEqual(given, expected);
}

async function read(req) {
  const chunks = [];
  let size = 0;
  for await (const chunk of req) {
    size += chunk.length;
    if (size > MAX_BODY) throw new Error("too large");
    chunks.push(chunk);
  }
  return JSON.parse(Buffer.concat(chunks).toString());
}

async function notify(req, res) {
  if (!authorized(req)) return answer(res, 401, { code: "unauthorized" });
  let request;
  try {
    request = await read(req);
    const named = [...(request.users ?? []), ...(request.topics ?? [])];
    if (named.length === 0) throw new Error("users or topics: want a list");
  } catch (err) {
    return answer(res, 400, { code: "bad_request", detail: err.message });
  }
  const { users = [], topics = [], type, data } = request;
  const id = ulid();
  // All rooms in one message: one PUBLISH however many users and topics there are.
  emitter.to([...users.map((user) => `u:${user}`), ...topics.map((topic) => `t:${topic}`)]).emit("notify", { id, type, data });
  return answer(res, 200, { id, targets: users.length });
}

const server = createServer((req, res) => {
  if (req.method === "POST" && req.url === "/notify") return notify(req, res);
  if (req.url === "/readyz") return answer(res, pub.status === "ready" ? 200 : 503, { up: pub.status === "ready" });
  return answer(res, 404, { code: "not_found" });
});

listen(server, port);
