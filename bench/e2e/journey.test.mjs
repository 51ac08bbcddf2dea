// The JavaScript client, in Node and in Chromium, through the life of a real
// deployment, in small: bench/e2e/journey has the whole.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const binary = process.env.HOMING_BIN ?? fileURLToPath(new URL("../../bin/homing", import.meta.url));

for (const [where, agent] of [["Node", "agent.mjs"], ["Chromium", "agent-chromium.mjs"]]) {
  test(`a journey of clients in ${where}: each notification once and in order`, { timeout: 400_000 }, async () => {
    const journey = spawn("go", ["run", "./bench/e2e/journey", "-binary", binary, "-clients", "4", "-per", "4", "-cuts", "10", "-kills", "1", "-publish",
      "--", process.execPath, `client/js/test/${agent}`], { cwd: root, stdio: ["ignore", "inherit", "inherit"] });
    const [code] = await once(journey, "exit");
    assert.equal(code, 0, "the journey tells what went wrong");
  });
}
