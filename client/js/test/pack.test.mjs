// What npm would publish, installed into an empty project: both module systems,
// and types under strict.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const project = mkdtempSync(join(tmpdir(), "homing-client-"));
const run = (command, ...args) => execFileSync(command, args, { cwd: project, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });

before(() => {
  const [{ filename, files }] = JSON.parse(execFileSync("npm", ["pack", "--json", "--pack-destination", project], { cwd: root, encoding: "utf8" }));
  const names = files.map((f) => f.path);
  for (const name of ["README.md", "LICENSE", "dist/index.js", "dist/index.cjs", "dist/global.js", "dist/index.d.ts", "dist/index.d.cts"]) {
    assert.ok(names.includes(name), `${name} is in the tarball`);
  }
  assert.ok(!names.some((n) => n.startsWith("src") || n.startsWith("test")), `${names}`);
  writeFileSync(join(project, "package.json"), '{"private":true}');
  run("npm", "install", "--no-audit", "--no-fund", "--offline", "--loglevel=error", `./${filename}`);
});
after(() => rmSync(project, { recursive: true, force: true }));

test("import", () => {
  writeFileSync(join(project, "a.mjs"), 'import { Client, HomingError, Room, browserStorage } from "homing-client"; console.log(typeof Client, typeof HomingError, typeof Room, typeof browserStorage);');
  assert.equal(run(process.execPath, "a.mjs"), "function function function function\n");
});

test("require", () => {
  writeFileSync(join(project, "a.cjs"), 'const { Client, HomingError } = require("homing-client"); console.log(typeof Client, new HomingError("x") instanceof Error);');
  assert.equal(run(process.execPath, "a.cjs"), "function true\n");
});

test("a script of a page", () => {
  writeFileSync(join(project, "b.cjs"), 'const { readFileSync } = require("node:fs"); const { runInNewContext } = require("node:vm"); console.log(runInNewContext(readFileSync(require.resolve("homing-client/global.js"), "utf8") + ";typeof Homing.Client", { URL }));');
  assert.equal(run(process.execPath, "b.cjs"), "function\n");
});

const example = `
const client = new Client({ url: "wss://front.example.com/ws", token: async () => "t", storage: new Map() });
client.on("notify", async (n) => { const id: string = n.id; const data: unknown = n.data; void [id, data]; });
client.on("state", ({ state, wait }) => { const s: "connecting" | "recovering" | "open" | "waiting" | "closed" = state; void [s, wait]; });
const topic = client.subscribe("guild:7", { history: true });
topic.on("notify", (n) => n.user);
const room = client.join({ url: "wss://x/ws", ticket: "k" });
room.on("frame", ({ events, state }) => [events[0]?.n, state?.["score"]]);
const done: Promise<{ id: string }> = client.publish("guild:7", { hi: 1 }, { type: "chat" });
void client.ask({ t: "match", queue: "duel", rating: 1200 });
// @ts-expect-error there is no such event
client.on("weather", () => {});
// @ts-expect-error nor such an option
new Client({ uri: "x" });
void [done, HomingError];
`;

for (const [kind, name, head] of [
  ["ES modules", "c.mts", 'import { Client, HomingError } from "homing-client";'],
  ["CommonJS", "c.cts", 'import homing = require("homing-client"); const { Client, HomingError } = homing;'],
]) {
  test(`types compile under strict: ${kind}`, () => {
    writeFileSync(join(project, name), head + example);
    const require = createRequire(import.meta.url);
    const tsc = join(dirname(require.resolve("typescript/package.json")), "bin/tsc");
    run(process.execPath, tsc, "--noEmit", "--strict", "--exactOptionalPropertyTypes", "--noUncheckedIndexedAccess", "--module", "nodenext", "--moduleResolution", "nodenext", "--target", "es2022", "--lib", "es2022,dom", "--types", "", name);
  });
}
