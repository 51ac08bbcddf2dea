// Plays all scripts to npm's servers and to Homing's, and finds what differs.
//
//   node compare.mjs [PREFIX]     prints the answers of scripts, and their differences
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { freePort } from "../homing.mjs";
import { scripts } from "./scripts.mjs";
import { Play } from "./wire.mjs";

const binary = process.env.HOMING_BIN ?? fileURLToPath(new URL("../../../bin/homing", import.meta.url));
const ATONCE = 8;

// times are those of the pairs of servers, in ms. With slow ones no heartbeat comes
// between the answers.
const times = {
  slow: { pingInterval: 25_000, pingTimeout: 20_000, connectTimeout: 45_000 },
  quick: { pingInterval: 1500, pingTimeout: 1000, connectTimeout: 1000 },
};

// servers are the two of one pair.
async function start({ pingInterval, pingTimeout, connectTimeout }) {
  const reference = spawn(process.execPath, [fileURLToPath(new URL("reference.mjs", import.meta.url)), JSON.stringify({ pingInterval, pingTimeout, connectTimeout })],
    { stdio: ["pipe", "pipe", "inherit"] });
  const [port] = await once(createInterface(reference.stdout), "line");
  const own = await freePort();
  const homing = spawn(binary, ["bench", "socketio", "--listen", `127.0.0.1:${own}`,
    "--ping-interval", `${pingInterval}ms`, "--ping-timeout", `${pingTimeout}ms`, "--connect-timeout", `${connectTimeout}ms`], { stdio: ["ignore", "ignore", "pipe"] });
  await once(createInterface(homing.stderr), "line");
  const stop = async () => {
    for (const child of [reference, homing]) {
      child.kill();
      if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    }
  };
  return { npm: Number(port), homing: own, stop };
}

// play plays one script to one server, and returns what it was answered.
async function play(script, port) {
  const p = new Play(port, script.path);
  try {
    await script.play(p);
  } catch (err) {
    p.note(`failed: ${err.message}`);
  } finally {
    p.end();
  }
  return p.lines;
}

// differences pairs what differs in two lists of lines: one by one where as many
// differ in both, else all of them as one.
export function differences(npm, homing) {
  let from = 0;
  while (from < Math.min(npm.length, homing.length) && npm[from] === homing[from]) from++;
  let end = 0;
  while (end < Math.min(npm.length, homing.length) - from && npm.at(-1 - end) === homing.at(-1 - end)) end++;
  const [a, b] = [npm.slice(from, npm.length - end), homing.slice(from, homing.length - end)];
  if (a.length === b.length) return a.map((line, i) => [line, b[i]]).filter(([x, y]) => x !== y);
  return [[a, b].map((lines) => lines.join(" ⏎ ") || "nothing")];
}

// compare plays the scripts whose names begin with prefix: [{name, npm, homing}].
export async function compare(prefix = "") {
  const pairs = {};
  for (const [name, of] of Object.entries(times)) pairs[name] = await start(of);
  try {
    const results = [];
    const todo = scripts.filter((s) => s.name.startsWith(prefix));
    const work = async () => {
      for (let s = todo.shift(); s; s = todo.shift()) {
        const pair = pairs[s.times];
        const [npm, homing] = await Promise.all([play(s, pair.npm), play(s, pair.homing)]);
        results.push({ name: s.name, npm, homing });
      }
    };
    todo.sort((a, b) => b.times.localeCompare(a.times) || Number(b.name.includes("not followed")) - Number(a.name.includes("not followed")));
    await Promise.all(Array.from({ length: ATONCE }, work));
    return results;
  } finally {
    await Promise.all(Object.values(pairs).map((pair) => pair.stop()));
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const { name, npm, homing } of await compare(process.argv[2])) {
    console.log(`${name}\n  ${npm.join("\n  ")}`);
    for (const [a, b] of differences(npm, homing)) console.log(`  ≠ ${a}\n  ≠ ${b}`);
  }
}
