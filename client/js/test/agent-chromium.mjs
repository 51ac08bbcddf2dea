// The agent of this client for client/conformance, in headless Chromium: each
// client in a page of its own. CHROMIUM names the browser, /usr/bin/chromium
// unless set.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const bundle = readFileSync(new URL("../dist/global.js", import.meta.url), "utf8");
const commands = readFileSync(new URL("commands.mjs", import.meta.url), "utf8").replace("export function", "function");

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--renderer-process-limit=4"],
});
const context = await browser.newContext();
const say = (event) => process.stdout.write(`${JSON.stringify(event)}\n`);
const pages = [];

// open opens the page of a client, of the same origin as what it connects to.
async function open(url, client) {
  const page = await context.newPage();
  await page.exposeFunction("say", (event) => say(client ? { ...event, client } : event));
  const { protocol, host } = new URL(url);
  await page.goto(`${protocol.replace("ws", "http")}//${host}/healthz`);
  await page.addScriptTag({ content: `${bundle};${commands};window.it = agent(Homing.Client, window.say, {})` });
  return page;
}

async function tell(m) {
  const client = m.client ?? 0;
  pages[client] ??= open(m.url, client);
  const page = await pages[client];
  if (m.do === "offline" || m.do === "online") await context.setOffline(m.do === "offline");
  else await page.evaluate((m) => window.it.tell(m), m);
}

say({ event: "ready", client: "chromium", can: ["status", "date", "hold", "fail", "overlap", "topics", "publish", "friends", "rooms", "binary", "stream", "network"] });
let order = Promise.resolve();
for await (const line of createInterface({ input: process.stdin })) order = order.then(() => tell(JSON.parse(line)));
await order;
await Promise.all(pages.map(async (page) => (await page).evaluate(() => window.it.close())));
await browser.close();
