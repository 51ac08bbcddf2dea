// The notifications that a player has heard, newest first.

import { clock, copyButton, element } from "./dom.js";
import { arrived } from "./latency.js";

const LIMIT = 100;

export class Feed {
  #panel; #list;
  #received = 0;

  constructor(panel) {
    this.#panel = panel;
    this.#list = panel.querySelector(".feed");
    panel.querySelector(".clear").addEventListener("click", () => {
      this.#list.replaceChildren();
      this.#count(0);
    });
  }

  show(n) {
    const item = element("li", "note");
    const text = JSON.stringify(n.data, null, 2);
    const body = element("div", "code");
    body.append(element("pre", "", text), copyButton("the data", () => text));
    item.append(head(n), body);
    this.#list.prepend(item);
    while (this.#list.childElementCount > LIMIT) this.#list.lastElementChild.remove();
    this.#count(this.#received + 1);
  }

  #count(n) {
    this.#received = n;
    this.#panel.querySelector(".received").textContent = n;
    this.#panel.querySelector(".none").hidden = n > 0;
    this.#panel.querySelector(".clear").hidden = n === 0;
  }
}

function head(n) {
  const head = element("div", "note-head");
  head.append(element("span", n.type ? "note-type" : "note-type none", n.type || "no type"));
  if (n.user) head.append(element("span", "chip", `by ${n.user}`));
  if (n.from) head.append(element("span", "chip", `from ${n.from}`));
  for (const topic of n.topics ?? []) head.append(element("span", "chip", topic));
  if (n.stored) head.append(explained("stored", "The inbox keeps it for a while: a client that was away is given it when it is back."));
  if (n.kept) head.append(explained("kept", "The topic keeps it as history."));
  if (n.ack) head.append(explained("acknowledged", "The inbox kept it until a client says that it has dealt with it, which this one does by itself."));
  head.append(latency(n.id), time(n.id));
  return head;
}

function latency(id) {
  const e = element("span", "latency");
  e.title = "From when it was sent to when it was here. ≈: by the server's clock, in whole milliseconds";
  arrived(id, (text) => { e.textContent = text; });
  return e;
}

function time(id) {
  const now = new Date();
  const e = element("time", "", clock(now));
  e.dateTime = now.toISOString();
  e.title = id;
  return e;
}

function explained(text, title) {
  const e = element("span", "chip plain", text);
  e.title = title;
  return e;
}
