// The event stream, as `homing dev` serves it, in headless Chromium.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import { startDev } from "./homing.mjs";

let homing;
before(async () => { homing = await startDev(); });
after(() => homing?.stop());

test("EventSource", { timeout: 120_000 }, async () => {
  const script = fileURLToPath(new URL("events.mjs", import.meta.url));
  const front = homing.front.replace(/^ws:/, "http:").replace(/\/ws$/, "");
  const child = spawn(process.execPath, [script, homing.api, front], { stdio: "inherit" });
  const [code] = await once(child, "exit");
  assert.equal(code, 0, `the checks failed; the server said:\n${homing.log()}`);
});
