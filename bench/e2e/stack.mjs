// Starts a whole Homing on a real Redis topology for a test.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const binary = process.env.HOMING_BIN ?? fileURLToPath(new URL("../../bin/homing", import.meta.url));

// startStack resolves to where everything is, and how to stop it and to have a fault
// happen; stack/main.go says what there is of flags and faults.
export async function startStack(...flags) {
  const child = spawn("go", ["run", "./bench/e2e/stack", "-binary", binary, ...flags], { cwd: root, stdio: ["pipe", "pipe", "inherit"] });
  const ended = once(child, "exit");
  const answers = []; // who waits for one
  const lines = createInterface({ input: child.stdout });
  lines.on("line", (line) => answers.shift()?.(line));
  const answer = () => Promise.race([
    new Promise((resolve) => { answers.push(resolve); }),
    ended.then(([code]) => { throw new Error(`the stack ended with ${code}`); }),
  ]);
  const stop = async () => {
    child.stdin.end();
    const [code] = await ended;
    assert.equal(code, 0, "the stack stops in good order");
  };
  const fault = async (name) => {
    const done = answer();
    child.stdin.write(`${name}\n`);
    assert.equal(await done, "ok", name);
  };
  return { ...JSON.parse(await answer()), stop, fault };
}
