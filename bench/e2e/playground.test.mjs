// The playground, as `homing dev` serves it, in headless Chromium: players side by
// side, lines that are cut, topics with their history, friends; a phone; what
// keyboards and screen readers need.
// SCREENSHOTS names a folder for pictures.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { chromium } from "playwright-core";

import { startDev } from "./homing.mjs";

const PATIENCE = 40_000; // ms, for anything that must happen
const DESKTOP = { width: 1280, height: 900 };
const PHONE = { width: 390, height: 844 };
const NARROW = { width: 360, height: 740 };

let homing;
let browser;
before(async () => {
  homing = await startDev();
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
});
after(async () => {
  await browser?.close();
  await homing?.stop();
});

async function open(t, address, options) {
  const context = await browser.newContext({ viewport: DESKTOP, ...options });
  t.after(() => context.close());
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  page.complaints = [];
  page.on("console", (m) => { if (["error", "warning"].includes(m.type())) page.complaints.push(m.text()); });
  page.on("pageerror", (e) => page.complaints.push(e.message));
  await page.goto(address);
  return page;
}

const panel = (page, user) => page.getByRole("region", { name: `Player ${user}` });
const isOpen = (page, user) => panel(page, user).locator(".state", { hasText: /^open$/ }).waitFor();
const form = (page, user, name) => panel(page, user).getByRole("form", { name, exact: true });
const unfold = (page, user, name) => panel(page, user).locator("summary", { hasText: name }).click();
const heard = (page, user) => panel(page, user).locator(".note pre").allTextContents().then((all) => all.map((text) => JSON.parse(text)));

// hears waits until a player has heard data, and nothing else. It is in the order of
// arrival, which the page shows from below.
async function hears(page, user, data) {
  await panel(page, user).locator(".note").nth(data.length - 1).waitFor();
  assert.deepEqual((await heard(page, user)).reverse(), data, user);
}

async function add(page, ...users) {
  for (const user of users) {
    await page.getByRole("form", { name: "Add a player" }).getByLabel("User").fill(user);
    await page.getByRole("button", { name: "Add", exact: true }).click();
  }
  for (const user of users) await isOpen(page, user);
}

// send fills in the form's fields by their labels.
async function send(page, fields, choices = {}) {
  const f = page.getByRole("form", { name: "Send a notification" });
  for (const [label, value] of Object.entries({ Users: "", Topics: "", ...fields })) await f.getByLabel(new RegExp(`^${label}`)).fill(value);
  for (const [label, value] of Object.entries(choices)) await f.getByLabel(label).selectOption(value);
  await page.evaluate(() => { document.getElementById("result").textContent = ""; }); // of what was sent before
  await f.getByRole("button", { name: "Send", exact: true }).click();
  await f.locator("#result", { hasText: "Sent to" }).waitFor();
}

// shell runs a command that the page shows.
const shell = (command) => execFileSync("sh", ["-ec", command.replaceAll("curl ", "curl -sS --fail-with-body --noproxy '*' ")], { encoding: "utf8" });

test("players side by side, and the command that does the same", { timeout: 120_000 }, async (t) => {
  const page = await open(t, homing.api);
  await add(page, "ann", "bob");
  await send(page, { Users: "ann, bob", Data: "1" });
  await hears(page, "ann", [1]);
  await hears(page, "bob", [1]);
  for (const user of ["ann", "bob"]) {
    await panel(page, user).locator(".latency", { hasText: /^\d+\.\d m?s$/ }).waitFor(); // known exactly once the API has answered
  }
  shell(await page.locator("#curl").textContent());
  await hears(page, "ann", [1, 1]);
  await panel(page, "ann").locator(".latency", { hasText: /^≈ \d+(\.\d)? m?s$/ }).waitFor(); // not sent by the page
  await page.getByLabel("Class").selectOption("latest");
  assert.equal(await page.locator("#key:invalid").count(), 1, "latest needs a key");
  await send(page, { Users: "bob", Data: '"score"', Key: "match:7" });
  assert.match(await page.locator("#curl").textContent(), /"class":"latest","key":"match:7"/);
  await hears(page, "bob", [1, 1, "score"]);
  await page.getByRole("button", { name: "Remove bob" }).click();
  await panel(page, "bob").waitFor({ state: "detached" });
  await page.locator(".person", { hasText: "bob" }).waitFor({ state: "detached" });
  assert.equal(new URL(page.url()).search, "?user=ann&service=");
  assert.deepEqual(page.complaints, []);
});

test("a line that is cut, and what was missed", { timeout: 120_000 }, async (t) => {
  const page = await open(t, `${homing.api}/?user=cleo`);
  await isOpen(page, "cleo");
  const states = await panel(page, "cleo").locator(".state").evaluateHandle((e) => {
    const all = [];
    new MutationObserver(() => all.push(e.textContent.split(":")[0])).observe(e, { childList: true });
    return all;
  });
  await send(page, { Users: "cleo", Data: "1" }, { Store: "10m" });
  await hears(page, "cleo", [1]);
  await unfold(page, "cleo", "Cut the line");
  await form(page, "cleo", "Cut the line").getByLabel("For").selectOption("Infinity");
  await form(page, "cleo", "Cut the line").getByRole("button", { name: "Cut", exact: true }).click();
  await panel(page, "cleo").locator(".state", { hasText: /^waiting: lost, again in/ }).waitFor();
  while ((await (await fetch(`${homing.api}/users/cleo`)).json()).online) await page.waitForTimeout(50);
  await send(page, { Users: "cleo", Data: "2" }, { Store: "10m" });
  await page.getByText("Sent to 1 user: 0 online, 1 offline").waitFor();
  assert.deepEqual(await heard(page, "cleo"), [1]);
  await form(page, "cleo", "Cut the line").getByRole("button", { name: "Mend", exact: true }).click();
  await isOpen(page, "cleo");
  await hears(page, "cleo", [1, 2]);
  const seen = await states.jsonValue();
  assert.equal(seen[0], "waiting");
  assert.deepEqual(seen.slice(-3), ["connecting", "recovering", "open"]);
});

test("topics with history, publishing, friends, and the inbox", { timeout: 120_000 }, async (t) => {
  const page = await open(t, homing.api);
  await add(page, "dora", "emil");
  await unfold(page, "dora", "Topics");
  await form(page, "dora", "Subscribe").getByRole("button", { name: "Subscribe", exact: true }).click();
  await panel(page, "dora").getByText("member, 0 from its history").waitFor();
  await send(page, { Topics: "guild:7", Data: '"raid"' }, { Keep: "10m" });
  await page.getByText("1 topic with members").waitFor();
  await hears(page, "dora", ["raid"]);
  await unfold(page, "emil", "Topics");
  await form(page, "emil", "Subscribe").getByRole("button", { name: "Subscribe", exact: true }).click();
  await panel(page, "emil").getByText("member, 1 from its history").waitFor();
  await hears(page, "emil", ["raid"]);
  await form(page, "emil", "Publish").getByRole("button", { name: "Publish", exact: true }).click();
  await panel(page, "emil").getByText(/All members were told after/).waitFor();
  await hears(page, "dora", ["raid", "hi"]);
  await panel(page, "dora").locator(".note").first().getByText("by emil").waitFor();

  await unfold(page, "dora", "Friends");
  await form(page, "dora", "Friends").getByLabel("Friends").fill("emil");
  await form(page, "dora", "Friends").getByRole("button", { name: "Store the list", exact: true }).click();
  await panel(page, "dora").getByText("1 friend stored.").waitFor();
  await panel(page, "dora").getByText("Online: emil.").waitFor();
  await unfold(page, "emil", "Friends");
  await form(page, "emil", "Friends").getByLabel("Friends").fill("dora");
  shell(await form(page, "emil", "Friends").locator("pre").textContent()); // the command instead of the button
  await panel(page, "emil").getByText("Online: dora.").waitFor();
  await page.getByRole("button", { name: "Remove emil" }).click();
  await panel(page, "dora").getByText("None online.").waitFor();

  await send(page, { Users: "dora", Data: '"news"', Type: "news" }, { Class: "droppable", Store: "10m" });
  await unfold(page, "dora", "Inbox");
  const inbox = form(page, "dora", "Inbox");
  await inbox.getByRole("button", { name: "Look into the inbox", exact: true }).click();
  await inbox.getByText("1 notification kept.").waitFor();
  await inbox.getByRole("listitem").getByText('"news"').waitFor();
  const reply = JSON.parse(shell(await inbox.locator("pre").textContent()));
  assert.deepEqual(reply.notifications.map((n) => n.data), ["news"]);
  assert.deepEqual(page.complaints, []);
});

// unlabelled are the controls that nobody could name.
const unlabelled = (page) => page.evaluate(() => [...document.querySelectorAll("input, select, textarea, button, summary, pre[tabindex]")]
  .filter((e) => ![e.getAttribute("aria-label"), ...[...(e.labels ?? [])].map((l) => l.textContent), e.matches("button, summary") ? e.textContent : ""].some((name) => name?.trim()))
  .map((e) => e.outerHTML));

test("a phone, the keyboard, and names for all", { timeout: 120_000 }, async (t) => {
  const page = await open(t, homing.api, { viewport: NARROW, colorScheme: "dark" });
  await add(page, "a".repeat(100), "finn");
  for (const summary of await page.locator("summary").all()) await summary.click();
  await send(page, { Users: "finn", Type: "t".repeat(100), Data: JSON.stringify("x".repeat(500)) });
  await panel(page, "finn").locator(".note").waitFor();
  for (const size of [NARROW, PHONE, { width: 800, height: 900 }, DESKTOP]) {
    await page.setViewportSize(size);
    const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.equal(over, 0, `scrolls sideways at ${size.width}`);
  }
  assert.deepEqual(await unlabelled(page), []);
  assert.equal(await page.locator(".player .status[role=status]").count(), 2);

  await page.locator("#user").focus(); // a player by the keyboard alone
  await page.keyboard.type("gina");
  await page.keyboard.press("Enter");
  await isOpen(page, "gina");
  await page.locator("#user").focus();
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  const ring = await page.evaluate(() => [document.activeElement.textContent, getComputedStyle(document.activeElement).outlineStyle]);
  assert.deepEqual(ring, ["Add", "solid"]);
  assert.deepEqual(page.complaints, []);
});

test("pictures", { skip: !process.env.SCREENSHOTS, timeout: 120_000 }, async (t) => {
  for (const [name, viewport] of [["desktop", DESKTOP], ["phone", PHONE]]) {
    for (const colorScheme of ["light", "dark"]) {
      const page = await open(t, `${homing.api}/?user=alice&service=chess&user=carl&service=shop`, { viewport, colorScheme });
      for (const user of ["alice", "carl"]) await isOpen(page, user);
      if (name === "desktop") await unfold(page, "alice", "Topics");
      await send(page, { Users: "alice, carl", Type: "friend.online", From: "chess", Data: '{"friend": "cleo", "rating": 1872}' });
      await send(page, { Users: "alice", Type: "gift", From: "shop", Data: '{"item": "golden rook"}' });
      await panel(page, "alice").locator(".note").nth(1).waitFor();
      await page.waitForTimeout(1200); // the colour of what has just arrived fades
      await page.evaluate(() => { document.activeElement.blur(); scrollTo(0, 0); });
      await page.screenshot({ path: join(process.env.SCREENSHOTS, `playground-${name}-${colorScheme}.png`) });
      await page.context().close();
    }
  }
});
