// Starts a whole Homing on a real Redis topology and lets clients written by
// others check every delivery.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { startStack } from "./stack.mjs";

const here = fileURLToPath(new URL(".", import.meta.url));

test("10,000 notifications reach exactly the right ones of 1,000 ws clients", { timeout: 180_000 }, async (t) => {
  const stack = await startStack("-apis", "2", "-workers", "4");
  t.after(stack.stop);
  const clients = spawn(process.execPath, [
    "clients.mjs",
    ...stack.apis.flatMap((url) => ["--api", url]),
    "--front", stack.front, "--secret-file", stack.secret_file, "--api-key-file", stack.api_key_file,
  ], { cwd: here, stdio: ["ignore", "inherit", "inherit"] });
  const [code] = await once(clients, "exit");
  assert.equal(code, 0, "clients.mjs found every delivery exact");
});
