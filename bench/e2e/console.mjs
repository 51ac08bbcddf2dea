// Drives the page of a running `homing dev` in headless Chromium: two users in
// two pages, a notification from the form, and the list of who is online.
//
//   node console.mjs http://127.0.0.1:8080 [--screenshot DIR]
//
// It prints each thing it checked and exits with 1 at the first that fails.
// CHROMIUM names the browser, /usr/bin/chromium unless set.
import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";

const flags = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { screenshot: { type: "string" } },
});
if (positionals.length !== 1) {
  console.error("usage: node console.mjs API-URL [--screenshot DIR]");
  process.exit(2);
}
const api = positionals[0].replace(/\/$/, "");

// Names of this run, so that it may share a server with other users.
const run = process.pid.toString(36);
const ann = `ann-${run}`;
const bob = `bob-${run}`;

const complaints = []; // what the pages put on their consoles
const sockets = []; // addresses of the pages' WebSockets

async function openPage(browser, options) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(10_000);
  page.on("console", (m) => {
    if (["error", "warning"].includes(m.type())) complaints.push(`${m.type()}: ${m.text()}`);
  });
  page.on("websocket", (ws) => sockets.push(ws.url()));
  page.on("pageerror", (err) => complaints.push(`exception: ${err.message}`));
  return page;
}

async function connect(page, user, service) {
  const form = page.getByRole("form", { name: "Add a player" });
  await form.getByLabel("User").fill(user);
  await form.getByLabel("Service").fill(service);
  await form.getByRole("button", { name: "Add" }).click();
  await connected(page, user);
}

const panel = (page, user) => page.getByRole("region", { name: `Player ${user}` });
const connected = (page, user) => panel(page, user).getByText("open", { exact: true }).waitFor();

async function send(page, { to, type, from, data }) {
  const form = page.getByRole("form", { name: "Send a notification" });
  await form.getByLabel("Users").fill(to.join(", "));
  await form.getByLabel("Type").fill(type);
  await form.getByLabel("From").fill(from);
  await form.getByLabel("Data").fill(data);
  await form.getByRole("button", { name: "Send" }).click();
}

const note = (page, type) => page.locator(".note").filter({ has: page.locator(".note-type", { hasText: type }) });

async function inOnlineList(page, user, service) {
  const row = page.locator(".person", { hasText: user });
  await row.getByText(service).waitFor();
  return row;
}

// inboxIsEmpty looks into a player's inbox until nothing is kept there.
async function inboxIsEmpty(page, user) {
  await panel(page, user).getByText("Inbox", { exact: true }).click();
  const form = panel(page, user).getByRole("form", { name: "Inbox" });
  for (let left = 100; ; left--) {
    await form.getByRole("button", { name: "Look into the inbox" }).click();
    await form.getByText(/\d+ notifications? kept\./).waitFor();
    if (await form.getByText("0 notifications kept.").isVisible()) return;
    assert.ok(left > 0, "it was not acknowledged");
    await page.waitForTimeout(300); // how often one may ask
  }
}

async function shoot(page, name) {
  if (!values.screenshot) return;
  await mkdir(values.screenshot, { recursive: true });
  await page.screenshot({ path: join(values.screenshot, `${name}.png`) });
}

async function check(what, body) {
  try {
    await body();
  } catch (err) {
    console.log(`FAILED  ${what}`);
    throw err;
  }
  console.log(`ok      ${what}`);
}

// contrasts returns each placeholder's contrast with its field, by WCAG 2.
const contrasts = (page) => page.evaluate(() => {
  const luminance = (color) => {
    const [r, g, b] = color.match(/[\d.]+/g).slice(0, 3).map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => {
    const [dark, light] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (light + 0.05) / (dark + 0.05);
  };
  return [...document.querySelectorAll("input[placeholder]")].map((e) => {
    const own = getComputedStyle(e);
    return { id: e.id, text: ratio(getComputedStyle(e, "::placeholder").color, own.backgroundColor), edge: e.disabled ? 3 : ratio(own.borderTopColor, own.backgroundColor) };
  });
});

async function checks(browser) {
  const first = await openPage(browser, { colorScheme: "light", permissions: ["clipboard-read", "clipboard-write"] });
  const second = await openPage(browser, { colorScheme: "dark" });

  await check("two users connect in two pages", async () => {
    await first.goto(api);
    await connect(first, ann, "chess");
    await second.goto(api);
    await connect(second, bob, "shop");
  });

  await check("the token is in no WebSocket's address", () => {
    assert.ok(sockets.length >= 2);
    for (const url of sockets) assert.equal(new URL(url).search, "", url);
  });

  await check("what the form asks can be read, and stands in line", async () => {
    for (const page of [first, second]) {
      const found = await contrasts(page);
      assert.ok(found.length >= 6);
      for (const { id, text, edge } of found) assert.ok(text >= 4.5 && edge >= 3, `${id}: text ${text}, edge ${edge}`);
    }
    for (const size of [{ width: 1280, height: 860 }, { width: 360, height: 740 }]) {
      await first.setViewportSize(size);
      const [a, b] = await Promise.all(["#class", "#store"].map((id) => first.locator(id).boundingBox()));
      assert.equal(a.y, b.y, `the selects at a width of ${size.width}`);
      assert.equal(a.height, b.height);
    }
    await first.setViewportSize({ width: 1280, height: 860 });
  });

  await check("the command can be copied", async () => {
    await first.getByRole("button", { name: "Copy the command", exact: true }).click();
    await first.locator(".send").getByText("Copied").waitFor();
    assert.equal(await first.evaluate(() => navigator.clipboard.readText()), await first.locator("#curl").textContent());
    assert.match(await first.locator("#curl").textContent(), new RegExp(`^curl ${api}/notify .*"${ann}"`));
  });

  await check("both pages list both users with their services", async () => {
    for (const page of [first, second]) {
      await inOnlineList(page, ann, "chess");
      await inOnlineList(page, bob, "shop");
    }
  });

  await check("a notification from the form reaches both users", async () => {
    await send(first, { to: [ann, bob, ann], type: "friend.online", from: "chess", data: '{"friend": "cleo", "rating": 1872}' });
    await first.getByText(/Sent to 2 users: 2 online, 0 offline/).waitFor();
    for (const page of [first, second]) {
      await note(page, "friend.online").getByText("from chess").waitFor();
      assert.deepEqual(JSON.parse(await note(page, "friend.online").locator("pre").textContent()), { friend: "cleo", rating: 1872 });
    }
  });

  await check("notifications are a list, whose data can be copied", async () => {
    const list = first.getByRole("list", { name: `Notifications of ${ann}` });
    assert.equal(await list.getByRole("listitem").count(), 1);
    await list.getByRole("button", { name: "Copy the data" }).click();
    await list.getByText("Copied").waitFor();
    assert.deepEqual(JSON.parse(await first.evaluate(() => navigator.clipboard.readText())), { friend: "cleo", rating: 1872 });
    assert.equal(await list.getByText(/stored|ack/).count(), 0, "it was not stored");
  });

  await check("a notification to one user reaches only that user", async () => {
    await send(first, { to: [bob], type: "gift", from: "shop", data: '{"item": "golden rook", "text": "A present from ann"}' });
    await first.getByText(/Sent to 1 user: 1 online/).waitFor();
    await note(second, "gift").waitFor();
    assert.equal(await note(first, "gift").count(), 0);
  });

  await check("what a notification holds is shown as text, never as markup", async () => {
    await send(first, { to: [bob], type: "<img src=x>", from: "", data: "<b>bold</b> and not JSON" });
    await note(second, "<img src=x>").getByText("<b>bold</b>").waitFor();
    assert.equal(await second.locator(".note img, .note b").count(), 0);
  });
  await shoot(first, "console");
  await shoot(second, "console-dark");

  await check("a refusal is told under the form", async () => {
    await send(first, { to: [ann], type: "x", from: "Not A Service", data: "1" });
    await first.getByText(/Invalid value: from: /).waitFor();
    complaints.splice(0, complaints.length, ...complaints.filter((c) => !c.includes("400")));
  });

  await check("a second device of a user is counted", async () => {
    const third = await openPage(browser, { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2 });
    await third.goto(`${api}/?user=${ann}&service=chess`); // the address alone connects
    await connected(third, ann);
    await (await inOnlineList(first, ann, "chess ×2")).getByText("2 devices").waitFor();
    await send(second, { to: [ann], type: "match.move", from: "chess", data: '{"move": "e4", "clock": [300, 298]}' });
    for (const page of [first, third]) await note(page, "match.move").waitFor();
    const overflow = await third.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.equal(overflow, 0, "the page scrolls sideways on a phone");
    await shoot(third, "console-phone");
    await third.context().close();
  });

  await check("a player who is removed leaves the list", async () => {
    await second.getByRole("button", { name: `Remove ${bob}` }).click();
    await panel(second, bob).waitFor({ state: "detached" });
    await first.locator(".person", { hasText: bob }).waitFor({ state: "detached" });
  });

  await check("what was kept for a user who was away shows on the return, once", async () => {
    const form = first.getByRole("form", { name: "Send a notification" });
    await form.getByLabel("Store").selectOption("24h");
    await send(first, { to: [bob], type: "mail", from: "shop", data: '"for later"' });
    await first.getByText(/Sent to 1 user: 0 online, 1 offline/).waitFor();
    await form.getByLabel("Store").selectOption("");
    await connect(second, bob, "shop");
    await note(second, "mail").getByText("for later").waitFor();
    await note(second, "mail").getByText("stored", { exact: true }).waitFor();
    await inboxIsEmpty(second, bob); // it was acknowledged
    const again = await openPage(browser);
    await again.goto(`${api}/?user=${bob}`);
    await connected(again, bob);
    await again.waitForTimeout(300);
    assert.equal(await note(again, "mail").count(), 0, "it was acknowledged, and came again");
    assert.equal(await note(second, "mail").count(), 1);
    await again.context().close();
  });

  await check("a user sent away by a backend is told so and stays away", async () => {
    const res = await fetch(`${api}/users/${ann}/connections?reason=signed+in+elsewhere`, { method: "DELETE" });
    assert.equal(res.status, 200);
    await panel(first, ann).getByText("closed: signed in elsewhere (4003)").waitFor();
  });

  await check("a server that falls silent is left, and one that asks for nonsense does not hold the page up", async () => {
    const page = await openPage(browser);
    let dials = 0;
    let pings = 0;
    const say = (ws, m) => ws.send(JSON.stringify(m));
    await page.routeWebSocket(/\/ws$/, (ws) => {
      ws.onMessage((text) => { if (JSON.parse(text).t === "ping") pings++; });
      say(ws, { t: "hello", user: ann, conn: "x", ping: 1000 });
      if (dials++ > 0) return;
      say(ws, { t: "presence", id: 7, data: { user: [] } });
      say(ws, { t: "reconnect", after_ms: 1e12, to: "127.0.0.1:1/steal" });
    });
    await page.clock.install();
    await page.goto(`${api}/?user=${ann}`);
    await connected(page, ann);
    await page.clock.runFor(15_500);
    assert.equal(dials, 1);
    assert.equal(pings, 1);
    await page.clock.runFor(1500);
    await panel(page, ann).getByText(/waiting: silence, again in 1[0-3]\d\.\d s/).waitFor();
    await panel(page, ann).getByText("elsewhere").waitFor(); // what is no host is not followed
    await page.clock.runFor(135_000);
    await connected(page, ann);
    assert.equal(dials, 2);
    await page.context().close();
  });

  await check("nothing was complained about on the consoles", () => assert.deepEqual(complaints, []));
}

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: flags });
try {
  await checks(browser);
} catch (err) {
  console.error(err);
  console.error("consoles:", complaints);
  process.exitCode = 1;
} finally {
  await browser.close();
}
