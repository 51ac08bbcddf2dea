// After: the same chat on Homing. The backend holds no connections: it checks what
// players say and posts it. Any number of these may run, and any may be asked.
//
//   PORT=3000 API=http://127.0.0.1:8080 node after.mjs
import { createServer } from "node:http";
import { allowed, body, userOf } from "./game.mjs";

const { API, API_KEY, PORT } = process.env;

// post has Homing tell players.
async function post(path, what) {
  const res = await fetch(API + path, {
    method: "POST",
    headers: { "Content-Type": "application/json", ...(API_KEY && { Authorization: `Bearer ${API_KEY}` }) },
    body: JSON.stringify(what),
  });
  if (!res.ok) throw new Error(`${path}: ${res.status} ${await res.text()}`);
}

const routes = {
  // A line of a player. The topic keeps the last 50 for an hour, for those who come back.
  "/chat": async (req) => {
    const user = userOf(req.headers.authorization?.replace("Bearer ", ""));
    const { guild, text } = await body(req);
    if (!user || !allowed(user, guild)) return { error: "not_allowed" };
    await post("/notify", { topics: [`guild:${guild}`], type: "chat", data: { guild, user, text }, keep: { count: 50, age: "1h" } });
    return { ok: true };
  },
  // Something for everybody.
  "/announce": async (req) => {
    await post("/broadcast", { type: "announcement", data: await body(req) });
    return {};
  },
};

createServer(async (req, res) => {
  res.setHeader("Access-Control-Allow-Origin", "*");
  try {
    const route = req.method === "POST" && routes[req.url];
    const answer = route && await route(req);
    res.writeHead(route ? 200 : 404).end(JSON.stringify(answer || {}));
  } catch (err) {
    console.error(err);
    res.writeHead(503).end();
  }
}).listen(PORT, "127.0.0.1", () => console.log("ready"));
