// Starts a whole Homing on a real Redis topology and lets clients written by
// others check every delivery.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const root = fileURLToPath(new URL("../..", import.meta.url));
const binary = process.env.HOMING_BIN ?? fileURLToPath(new URL("../../bin/homing", import.meta.url));

// startStack resolves to where everything is, and how to stop it.
async function startStack() {
  const child = spawn("go", ["run", "./bench/e2e/stack", "-binary", binary, "-apis", "2", "-workers", "4"],
    { cwd: root, stdio: ["pipe", "pipe", "inherit"] });
  const ended = once(child, "exit");
  const line = await Promise.race([
    once(createInterface({ input: child.stdout }), "line").then(([text]) => text),
    ended.then(([code]) => { throw new Error(`the stack ended with ${code}`); }),
  ]);
  const stop = async () => {
    child.stdin.end();
    const [code] = await ended;
    assert.equal(code, 0, "the stack stops in good order");
  };
  return { ...JSON.parse(line), stop };
}

test("10,000 notifications reach exactly the right ones of 1,000 ws clients", { timeout: 180_000 }, async (t) => {
  const stack = await startStack();
  t.after(stack.stop);
  const clients = spawn(process.execPath, [
    "clients.mjs",
    ...stack.apis.flatMap((url) => ["--api", url]),
    "--front", stack.front, "--secret-file", stack.secret_file, "--api-key-file", stack.api_key_file,
  ], { cwd: here, stdio: ["ignore", "inherit", "inherit"] });
  const [code] = await once(clients, "exit");
  assert.equal(code, 0, "clients.mjs found every delivery exact");
});
