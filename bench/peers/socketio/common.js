// What front and API have in common: options, Redis, readiness, the end.
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";

import { Redis } from "ioredis";

// options reads --port, --redis HOST:PORT and the file that holds a secret.
export function options(secretOption) {
  const { values } = parseArgs({
    options: { port: { type: "string" }, redis: { type: "string" }, [secretOption]: { type: "string" } },
  });
  for (const name of ["port", "redis", secretOption]) {
    if (!values[name]) throw new Error(`--${name}: missing`);
  }
  return { port: Number(values.port), redis: values.redis, secret: readFileSync(values[secretOption], "utf8") };
}

// connect opens a connection to Redis that reconnects by itself.
export function connect(address) {
  const client = new Redis(`redis://${address}`);
  client.on("error", (err) => console.error("redis:", err.message));
  return client;
}

// answer sends a JSON reply.
export function answer(res, status, value) {
  const body = JSON.stringify(value);
  res.writeHead(status, { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body) });
  res.end(body);
}

// listen serves until the process is asked to end, which it does at once:
// clients see their connections end.
export function listen(server, port) {
  server.listen({ port, host: "127.0.0.1", backlog: 4096 });
  process.once("SIGTERM", () => process.exit(0));
}
