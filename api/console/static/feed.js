// The notifications that arrived, newest first.

import { $, clock, copyButton, element } from "./dom.js";

const FEED_LIMIT = 200;

let received = 0;

export function show(m) {
  const item = element("li", "note");
  item.dataset.id = m.id;
  const text = JSON.stringify(m.data, null, 2);
  const body = element("div", "code");
  body.append(element("pre", "", text), copyButton("the data", () => text));
  item.append(head(m), body);
  $("feed").prepend(item);
  while ($("feed").childElementCount > FEED_LIMIT) $("feed").lastElementChild.remove();
  $("count").textContent = ++received;
  $("empty").hidden = true;
  $("clear").hidden = false;
}

function head(m) {
  const head = element("div", "note-head");
  head.append(element("span", m.type ? "note-type" : "note-type none", m.type || "no type"));
  if (m.from) head.append(element("span", "chip", `from ${m.from}`));
  if (m.stored) head.append(explained("chip plain", "stored", "The inbox keeps it for a while: a client that was away is given it by resume."));
  if (m.ack) head.append(explained("chip wait", "ack due", "The inbox keeps it until a device acknowledges it."));
  const now = new Date();
  const time = element("time", "", clock(now));
  time.dateTime = now.toISOString();
  time.title = m.id;
  head.append(time);
  return head;
}

function explained(className, text, title) {
  const e = element("span", className, text);
  e.title = title;
  return e;
}

// acknowledged marks notifications whose acknowledgement was answered.
export function acknowledged(ids, ok) {
  const wanted = new Set(ids);
  for (const item of $("feed").children) {
    const chip = item.querySelector(".chip.wait");
    if (!chip || !wanted.has(item.dataset.id)) continue;
    if (ok) chip.className = "chip good";
    chip.textContent = ok ? "acknowledged" : "not acknowledged: it comes again";
  }
}

$("clear").addEventListener("click", () => {
  $("feed").replaceChildren();
  $("count").textContent = received = 0;
  $("empty").hidden = false;
  $("clear").hidden = true;
});

$("curl").after(copyButton("the command", () => $("curl").textContent));

// hint shows how to reach user from a shell.
export function hint(user, text) {
  $("empty-text").textContent = text;
  const body = JSON.stringify({ users: [user], type: "hello", data: { text: "Hi!" } });
  const quoted = body.replaceAll("'", "'\\''"); // a user id may hold a quote
  $("curl").textContent = `curl ${location.origin}/notify -H 'Content-Type: application/json' -d '${quoted}'`;
}
