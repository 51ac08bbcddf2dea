// The walk of a newcomer: README.md, then docs/first-page.md, with the commands and the
// code that stand there. Only ports are changed, and the folder of the page. It prints
// how long each step took.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

import { freePort } from "./homing.mjs";

const PATIENCE = 60_000; // ms, for anything that must happen
const root = fileURLToPath(new URL("../../", import.meta.url));

// blocks are the code of a document, by the language that it names.
function blocks(file) {
  const all = {};
  for (const [, language, code] of readFileSync(join(root, file), "utf8").matchAll(/^```(\w+)\n(.*?)^```/gms)) (all[language] ??= []).push(code);
  return all;
}

// start runs a command in a shell until the test ends, and resolves once it has
// printed what is waited for, to what stops it sooner.
async function start(t, command, { until, ...options }) {
  const child = spawn("sh", ["-ec", command], { stdio: ["ignore", "pipe", "pipe"], detached: true, ...options });
  const ended = once(child, "exit");
  const stop = async () => {
    try {
      process.kill(-child.pid, "SIGINT"); // as Ctrl-C does
    } catch {} // it has ended
    await ended;
  };
  t.after(stop);
  let said = "";
  const heard = new Promise((resolve) => {
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (b) => { if ((said += b).includes(until)) resolve(); });
  });
  await Promise.race([heard, ended.then(() => { throw new Error(`${command.trim()} has ended:\n${said}`); })]);
  return stop;
}

const run = (command, cwd) => execFileSync("sh", ["-ec", command], { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });

test("from README.md to a page of one's own", { timeout: 180_000 }, async (t) => {
  const ports = { 8080: await freePort(), 8081: await freePort(), 3000: await freePort() };
  const here = (text) => text.replace(/\b(8080|8081|3000)\b/g, (port) => ports[port]).replaceAll("curl ", "curl -sS --fail-with-body --noproxy '*' ");
  let since = Date.now();
  const step = (what) => {
    t.diagnostic(`${((Date.now() - since) / 1000).toFixed(1)} s: ${what}`);
    since = Date.now();
  };

  // A clone, but for what the newcomer makes in it.
  const clone = mkdtempSync(join(tmpdir(), "walk-"));
  t.after(() => rmSync(clone, { recursive: true, force: true }));
  for (const name of readdirSync(root)) symlinkSync(join(root, name), join(clone, name));

  const readme = blocks("README.md");
  const [make, prepare, serve, send] = blocks("docs/first-page.md").sh;
  assert.equal(readme.sh[0], make, "both begin alike");
  const flags = `--api-listen 127.0.0.1:${ports[8080]} --front-listen 127.0.0.1:${ports[8081]}`;
  const up = () => start(t, make, { cwd: root, env: { ...process.env, ARGS: flags }, until: "Homing is up." });
  const stop = await up();
  step(`${make.trim()}, with a warm build`);

  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
  t.after(() => browser.close());
  const page = await browser.newPage();
  page.setDefaultTimeout(PATIENCE);
  const complaints = [];
  page.on("console", (m) => { if (["error", "warning"].includes(m.type())) complaints.push(m.text()); });
  page.on("pageerror", (e) => complaints.push(e.message));
  await page.goto(`http://127.0.0.1:${ports[8080]}/`);
  await page.getByRole("form", { name: "Add a player" }).getByLabel("User").fill("alice");
  await page.getByRole("button", { name: "Add", exact: true }).click();
  await page.getByRole("region", { name: "Player alice" }).locator(".state", { hasText: /^open$/ }).waitFor();
  const reply = JSON.parse(run(here(readme.sh[1])));
  assert.deepEqual(Object.keys(reply), Object.keys(JSON.parse(readme.json[0])), "the reply that README.md shows");
  await page.getByRole("region", { name: "Player alice" }).locator(".note", { hasText: "sword" }).waitFor();
  step("the playground, and the first notification");

  run(prepare, clone);
  const mine = join(clone, "my-page");
  const first = blocks("docs/first-page.md");
  writeFileSync(join(mine, "index.html"), here(first.html[0]));
  writeFileSync(join(mine, "server.mjs"), here(first.js[0]));
  const address = `http://127.0.0.1:${ports[3000]}/`;
  await start(t, serve, { cwd: mine, until: address });
  await page.goto(address);
  await page.getByText("open", { exact: true }).waitFor();
  step("a page of one's own is open");

  run(here(send));
  await page.getByText('gift: {"gift":"sword"}').waitFor();
  step("it shows a notification");

  await page.goto("about:blank");
  run(here(send.replace("sword", "bow")));
  await page.goto(address);
  await page.getByText('gift: {"gift":"bow"}').waitFor();
  step("closed, sent to, and opened again, it shows what it has missed");
  assert.deepEqual(complaints, []);

  await stop();
  await page.getByText("waiting", { exact: true }).waitFor();
  while ((await fetch(`${address}token`)).status !== 503) await sleep(50);
  await up();
  await page.getByText("open", { exact: true }).waitFor();
  run(here(send.replace("sword", "axe")));
  await page.getByText('gift: {"gift":"axe"}').waitFor();
  step("Homing was stopped and started, and the page is back");
});
