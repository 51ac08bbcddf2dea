// Has recovery.mjs lose connections, a worker, all workers and a Redis: four workers of
// two fronts, two API servers, Redis with replicas and Sentinels. RECOVERY says with how
// much, as its flags; the numbers are what it prints.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { startStack } from "./stack.mjs";

const here = fileURLToPath(new URL(".", import.meta.url));
const small = "--clients 24 --disconnects 60 --seconds 40 --rate 25";
const FLAGS = (process.env.RECOVERY ?? small).split(" ");
const seconds = Number(FLAGS[FLAGS.indexOf("--seconds") + 1]);
const FAULTS = ["kill-worker", "pubsub-failover", "stop-worker 10s", "roll"]; // one after the other

test("socket.io-clients that lose connections, workers and a Redis hear everything once, in order", { timeout: 600_000 }, async (t) => {
  const stack = await startStack("-apis", "2", "-fronts", "2", "-workers", "2", "-front-arg=--topic-keep=guild:*=1000/1h", "-front-arg=--front-drain-window=5s");
  t.after(stack.stop);
  const client = spawn(process.execPath, [
    "recovery.mjs", ...FLAGS,
    ...FAULTS.flatMap((name, i) => ["--fault", `${Math.round(seconds * (i + 1) / (FAULTS.length + 1))} ${name}`]),
    ...stack.apis.flatMap((url) => ["--api", url]), ...stack.fronts.flatMap((url) => ["--front", url]),
    "--secret-file", stack.secret_file, "--api-key-file", stack.api_key_file,
  ], { cwd: here, stdio: ["ignore", "pipe", "pipe"] });
  let result;
  const faults = [], wrong = [];
  createInterface({ input: client.stderr }).on("line", (line) => wrong.push(line));
  createInterface({ input: client.stdout }).on("line", (line) => {
    if (line.startsWith("fault ")) faults.push(stack.fault(line.slice(6)));
    else result = line;
  });
  const [code] = await once(client, "close");
  await Promise.all(faults);
  t.diagnostic(result ?? "no result");
  assert.equal(faults.length, FAULTS.length);
  assert.equal(code, 0, `not each heard everything once, in order: ${result}\n${wrong.join("\n")}`);
  const { recovered, disconnects, spread } = JSON.parse(result);
  assert.ok(recovered >= disconnects / 2, `${recovered} recoveries of ${disconnects} lost connections`);
  assert.ok(Math.min(...spread) > Math.max(...spread) / 2, `requests went to both fronts: ${spread}`);
});
