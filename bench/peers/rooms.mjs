// What the servers with game rooms have in common: their options, the request
// that opens a room, and the loop of a room.
import { timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";

const MAX_BODY = 1 << 16; // bytes
const MAX_USERS = 256;
const MAX_HZ = 60;

// options reads --port and the file that holds the key of those who open rooms.
export function options() {
  const { values } = parseArgs({ options: { port: { type: "string" }, "key-file": { type: "string" } } });
  if (!values.port || !values["key-file"]) throw new Error("--port and --key-file: want both");
  return { port: Number(values.port), key: readFileSync(values["key-file"], "utf8") };
}

// answer sends a JSON reply.
export function answer(res, status, value) {
  const body = JSON.stringify(value);
  res.writeHead(status, { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body) });
  res.end(body);
}

// opener answers POST /rooms {"users":["ann","ben"],"hz":20} with what open makes
// of it: {"room":"...","seats":[{"path":"...","login":"..."}]}, one seat for each
// user. path is where to connect, login is the text to say first, if any.
export function opener(key, open) {
  const expected = Buffer.from(`Bearer ${key}`);
  return async (req, res) => {
    const given = Buffer.from(req.headers.authorization ?? "");
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) {
      return answer(res, 401, { code: "unauthorized" });
    }
    let request;
    try {
      request = check(JSON.parse(await read(req)));
    } catch (err) {
      return answer(res, 400, { code: "bad_request", detail: err.message });
    }
    try {
      return answer(res, 201, await open(request.users, request.hz));
    } catch (err) {
      return answer(res, 503, { code: "unavailable", detail: err.message });
    }
  };
}

async function read(req) {
  const chunks = [];
  let size = 0;
  for await (const chunk of req) {
    size += chunk.length;
    if (size > MAX_BODY) throw new Error("too large");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

function check({ users, hz }) {
  if (!Array.isArray(users) || users.length < 1 || users.length > MAX_USERS) throw new Error("users: want a list");
  if (users.some((user) => typeof user !== "string")) throw new Error("users: want names");
  if (!Number.isInteger(hz) || hz < 1 || hz > MAX_HZ) throw new Error(`hz: want 1 to ${MAX_HZ}`);
  return { users, hz };
}

// ticks calls tick hz times a second until the function that it returns is
// called. setInterval would drift by a percent or two, so each tick has its own
// time on a schedule. tick is told its number; those that could not be done in
// time are left out, and their numbers with them.
export function ticks(hz, tick) {
  const period = 1000 / hz;
  const start = performance.now();
  let number = 0;
  let timer;
  const step = () => {
    number = Math.max(number + 1, Math.floor((performance.now() - start) / period));
    tick(number);
    plan();
  };
  const plan = () => {
    timer = setTimeout(step, Math.max(0, Math.round(start + (number + 1) * period - performance.now())));
  };
  plan();
  return () => clearTimeout(timer);
}

// position reports whether value is where a player can be.
export function isPosition(value) { return isCoordinate(value?.x) && isCoordinate(value?.y); }

function isCoordinate(value) { return Number.isInteger(value) && value >= 0 && value <= 0xffff; }
