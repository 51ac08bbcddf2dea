// The list of situations that every client must get through.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../..", import.meta.url));

test("the conformance list, none skipped", { timeout: 300_000 }, async () => {
  const list = spawn("go", ["run", "./client/conformance/run", "-parallel", "8", "-late", "15s", "--", process.execPath, "client/js/test/agent.mjs"], { cwd: root, stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  list.stdout.on("data", (b) => (text += b));
  const [code] = await once(list, "exit");
  assert.equal(code, 0, text);
  assert.match(text, /\n\d{2,} passed, 0 failed, 0 skipped\n$/, text);
});
