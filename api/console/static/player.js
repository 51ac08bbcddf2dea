// A player: a client of client/js, and the panel that shows it.

import { $, copyButton, element, names, plural } from "./dom.js";
import { Feed } from "./feed.js";
import { call, curl, getText, quote, refuse } from "./http.js";
import { sent } from "./latency.js";
import { Line } from "./line.js";

const DOTS = { open: "up", closed: "down" }; // else: "wait"

const json = JSON.stringify;

const explain = ({ message, reason }) => (reason ? `${message}: ${reason}` : message);

const pauseOf = ({ value }) => (value === "Infinity" ? "until it is mended" : `for ${value} ms`);

export class Player {
  #front; #client; #token;
  #line = new Line();
  #lines = {}; // what shows the code of each action, by its name

  // A player of user, whose panel is to be put somewhere. removed is called when
  // the panel's button asks for that.
  constructor({ user, service }, front, removed) {
    this.user = user;
    this.service = service;
    this.#front = front;
    const q = new URLSearchParams({ user });
    if (service) q.set("service", service);
    this.#token = `/dev/token?${q}`;
    this.panel = $("player").content.cloneNode(true).firstElementChild;
    this.panel.setAttribute("aria-label", `Player ${user}`);
    this.#find(".name").textContent = user;
    this.#find(".service").textContent = service;
    this.#find(".service").hidden = !service;
    this.#find(".remove").setAttribute("aria-label", `Remove ${user}`);
    this.#find(".remove").addEventListener("click", removed);
    this.#find(".feed").setAttribute("aria-label", `Notifications of ${user}`);
    for (const place of this.panel.querySelectorAll("[data-shows]")) this.#addCode(place);
    this.#connect();
    this.#wire();
  }

  // close ends the connection, and resolves when nothing of it is left.
  close() { return this.#client.close(); }

  #find(selector) { return this.panel.querySelector(selector); }

  #addCode(place) {
    const pre = element("pre");
    pre.tabIndex = 0;
    pre.setAttribute("role", "group");
    pre.setAttribute("aria-label", `The code of: ${place.dataset.shows}`);
    place.append(pre, copyButton(`the code of: ${place.dataset.shows}`, () => pre.textContent));
    this.#lines[place.dataset.shows] = pre;
  }

  // ---- the connection

  #connect() {
    const feed = new Feed(this.panel);
    const { WebSocket, fetch } = this.#line;
    const client = this.#client = new globalThis.Homing.Client({ url: this.#front, token: () => getText(this.#token), WebSocket, fetch });
    this.#lines.connect.textContent = `const client = new Homing.Client({\n  url: ${json(this.#front)},\n  token: async () => (await fetch(${json(this.#token)})).text(),\n});\nclient.on("notify", (n) => console.log(n.type, n.data));`;
    client.on("notify", (n) => feed.show(n));
    client.on("state", (status) => this.#state(status));
    let been = false; // here before: else nothing can be missing
    client.on("resumed", ({ recovered }) => {
      this.#problem(recovered || !been ? "" : "Some of what was missed is gone for good.");
      been = true;
    });
    client.on("error", (err) => this.#problem(explain(err)));
    client.on("friends", (online) => this.#friends(online));
  }

  #state({ state, why, code, reason, status, wait }) {
    this.#find(".status").dataset.state = DOTS[state] ?? "wait";
    const number = code ?? (status && `HTTP ${status}`);
    const cause = [reason || why, number && `(${number})`].filter(Boolean).join(" ");
    const pause = wait === undefined ? "" : `, again in ${(wait / 1000).toFixed(1)} s`;
    this.#find(".state").textContent = `${state}${cause && state !== "open" ? `: ${cause}` : ""}${pause}`;
  }

  #problem(text) { this.#find(".problem").textContent = text; }

  #friends(online) {
    const list = [...online].map(([user, services]) => (services.length ? `${user} (${services.join(", ")})` : user));
    this.#find(".friends-count").textContent = list.length;
    this.#find(".friends").textContent = list.length ? `Online: ${list.join(", ")}.` : "None online.";
  }

  // ---- what a player does

  #wire() {
    this.#action("cut", (f) => `client.cut();\n// Without the pause: the button closes the socket under the client, and lets none\n// connect ${pauseOf(f.ms)} (line.js).`, (f) => this.#line.cut(Number(f.ms.value)));
    this.#find(".mend").addEventListener("click", () => this.#line.mend());
    this.#action("subscribe", (f) => `const topic = client.subscribe(${json(f.topic.value)}, { history: ${f.history.checked} });\ntopic.on("notify", (n) => console.log(n.user, n.data));`, (f) => this.#subscribe(f.topic.value, f.history.checked));
    this.#action("publish", (f) => `await client.publish(${json(f.topic.value)}, ${json(f.text.value)}, { type: "chat" });`, (f) => this.#publish(f.topic.value, f.text.value));
    this.#action("befriend", (f) => curl(this.#befriending(f)), async (f) => {
      const request = this.#befriending(f);
      await call(request);
      return `${plural(request.body.friends.length, "friend")} stored.`;
    });
    this.#action("inbox", () => `curl -H "Authorization: Bearer $(curl -s ${quote(location.origin + this.#token)})" ${quote(this.#inboxURL)}`, () => this.#look());
  }

  // action has a form do something when it is sent, tell what came of it, and show
  // the code that does the same.
  #action(name, code, run) {
    const form = this.#find(`form.${name}`);
    const show = () => { this.#lines[name].textContent = code(form.elements); };
    const tell = (state, text = "") => {
      const result = form.querySelector(".result");
      if (!result) return state === "bad" && this.#problem(text);
      result.dataset.state = state;
      result.textContent = text;
    };
    form.addEventListener("input", show);
    form.addEventListener("submit", async (e) => {
      e.preventDefault();
      try {
        tell("good", await run(form.elements));
      } catch (err) {
        tell("bad", explain(err));
      }
    });
    show();
  }

  async #subscribe(name, history) {
    this.#problem("");
    const list = this.#find(".topics");
    if ([...list.children].some((item) => item.dataset.topic === name)) return;
    const topic = this.#client.subscribe(name, { history });
    const item = element("li", "topic");
    item.dataset.topic = name;
    const state = element("small", "", "joining");
    const leave = element("button", "quiet", "Leave");
    leave.type = "button";
    leave.setAttribute("aria-label", `Leave ${name}`);
    item.append(element("b", "", name), state, leave);
    list.append(item);
    topic.on("subscribed", ({ recovered, count }) => {
      const missed = recovered === false ? "some of it is gone" : `${count} from its history`;
      state.textContent = history ? `member, ${missed}` : "member";
    });
    topic.on("ended", (err) => {
      item.remove();
      if (err.code !== "closed") this.#problem(`${name}: ${err.code}`);
    });
    leave.addEventListener("click", () => {
      item.remove();
      topic.unsubscribe();
    });
  }

  async #publish(topic, text) {
    const started = performance.now();
    const { id } = await this.#client.publish(topic, text, { type: "chat" });
    sent(id, started);
    return `All members were told after ${(performance.now() - started).toFixed(1)} ms.`;
  }

  #befriending(f) {
    return { method: "PUT", path: `/users/${encodeURIComponent(this.user)}/friends`, body: { friends: names(f.friends.value) } };
  }

  get #inboxURL() {
    const url = new URL(this.#front.replace(/^ws/, "http"));
    url.pathname = url.pathname.replace(/ws$/, "inbox");
    return `${url.href}?after=`;
  }

  // look shows what the inbox keeps, which leaves it as it is.
  async #look() {
    const token = await getText(this.#token);
    const res = await this.#line.fetch(this.#inboxURL, { headers: { Authorization: `Bearer ${token.trim()}` } });
    await refuse(res);
    const { notifications, more } = await res.json();
    this.#find(".kept").replaceChildren(...notifications.map((n) => {
      const item = element("li");
      item.append(element("b", "", n.type ?? "no type"), ` ${json(n.data)}`, element("small", "", n.ack ? " until acknowledged" : " for a while"));
      return item;
    }));
    return `${plural(notifications.length, "notification")} kept${more ? ", and more" : ""}.`;
  }
}
