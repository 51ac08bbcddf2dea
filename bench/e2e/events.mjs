// Reads the event stream of a running `homing dev` with a real browser's
// EventSource, loses the connection, and comes back where it was.
//
//   node events.mjs http://127.0.0.1:8080 http://127.0.0.1:8081
//
// It prints each thing it checked and exits with 1 at the first that fails.
// CHROMIUM names the browser, /usr/bin/chromium unless set.
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

if (process.argv.length !== 4) {
  console.error("usage: node events.mjs API-URL FRONT-URL");
  process.exit(2);
}
const [api, front] = process.argv.slice(2);
const user = `eve-${process.pid.toString(36)}`;

const checked = (what) => console.log(`  ok  ${what}`);

async function notify(body) {
  const res = await fetch(`${api}/notify`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ users: [user], ...body }),
  });
  assert.equal(res.status, 200, await res.text());
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"],
});
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(20_000);
  await page.goto(`${front}/healthz`); // a page of the same origin
  const token = await (await fetch(`${api}/dev/token?user=${user}`)).text();
  await page.evaluate((token) => {
    window.heard = [];
    window.events = {};
    const source = new EventSource(`/events?token=${token}&lastEventId=`);
    window.source = source;
    source.onmessage = (e) => window.heard.push({ id: e.lastEventId, ...JSON.parse(e.data) });
    for (const name of ["hello", "resumed", "reconnect", "closing", "problem"]) {
      window.events[name] = [];
      source.addEventListener(name, (e) => window.events[name].push(JSON.parse(e.data)));
    }
  }, token);
  await page.waitForFunction(() => window.events.hello.length === 1 && window.events.resumed.length === 1);
  const hello = await page.evaluate(() => window.events.hello[0]);
  assert.equal(hello.user, user);
  checked("hello, and an empty replay");

  await notify({ data: { n: 1 } });
  await notify({ data: { n: 2 }, store: "1h", id: `${user}-2` });
  await page.waitForFunction(() => window.heard.length === 2);
  const heard = await page.evaluate(() => window.heard);
  assert.deepEqual(heard.map((m) => m.data.n), [1, 2]);
  assert.equal(await page.evaluate(() => window.heard[1].id), `${user}-2`);
  checked("notifications, and the id of the one that is stored");

  const res = await fetch(`${api}/users/${user}/connections`, { method: "DELETE" });
  assert.ok(res.ok, `DELETE: ${res.status}`);
  await page.waitForFunction(() => window.events.closing.length === 1);
  assert.equal(await page.evaluate(() => window.events.closing[0].code), 4003);
  await notify({ data: { n: 3 }, store: "1h", id: `${user}-3` });
  checked("the reason of the end");

  await page.waitForFunction(() => window.events.resumed.length === 2);
  await page.waitForFunction(() => window.heard.some((m) => m.data.n === 3));
  const again = await page.evaluate(() => window.events.resumed[1]);
  assert.equal(again.recovered, true);
  checked("what was missed, after EventSource has come back by itself");
  await page.evaluate(() => window.source.close());
} finally {
  await browser.close();
}
