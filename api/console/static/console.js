// The page: a player's connection (homing.v1), a feed, a form, and who is
// online. What comes from outside is only ever set as text.

const $ = (id) => document.getElementById(id);
const FEED_LIMIT = 200;

function element(tag, className, text) {
  const e = document.createElement(tag);
  if (className) e.className = className;
  if (text !== undefined) e.textContent = text;
  return e;
}

// ---- connection

// Close codes after which coming back would only meet the same refusal:
// protocol errors, policy, and a backend that asked for the user to leave.
const FINAL = new Set([1002, 1003, 1007, 1008, 1010, 4003]);
const FIRST_PAUSE = 250; // ms
const LONGEST_PAUSE = 15_000;

const SEEN_LIMIT = 1024;
const ASIDE_LIMIT = 1024;
const RESUME_AGAIN = 1000; // ms
const ACK_DELAY = 50; // ms
const ACK_BATCH = 64;

class Connection {
  #user; #service; #front; #socket; #timer;
  #after = ""; // the stored notification that was seen last
  #seen = new Set(); // ids shown, oldest first
  #failures = 0;
  #stopped = false;
  #hint; // what the server asked for before it closed: {after_ms, url}

  constructor(user, service) {
    this.#user = user;
    this.#service = service;
  }

  async open(url) {
    status("wait", "connecting…");
    try {
      this.#front ??= (await getJSON("/dev/config")).front;
      const q = new URLSearchParams({ user: this.#user });
      if (this.#service) q.set("service", this.#service);
      const token = await getText(`/dev/token?${q}`);
      if (!this.#stopped) this.#dial(url || this.#front, token);
    } catch (err) {
      if (this.#stopped) return;
      if (err.permanent) this.#end(err.message);
      else this.#retry(err.message);
    }
  }

  #dial(url, token) {
    const u = new URL(url);
    u.searchParams.set("token", token);
    const ws = new WebSocket(u, ["homing.v1"]);
    this.#socket = ws;
    const session = new Session(ws, this);
    ws.onmessage = (e) => this.#receive(session, JSON.parse(e.data));
    ws.onclose = (e) => {
      session.end();
      this.#closed(e);
    };
  }

  #receive(session, m) {
    const known = this.#after !== ""; // else there is no history that could be missing
    session.receive(m);
    switch (m.t) {
      case "hello":
        this.#failures = 0;
        status("up", `connected as ${m.user}`);
        refreshOnline();
        break;
      case "resumed":
        if (known && !m.recovered) status("up", `connected as ${this.#user}; some notifications are gone for good`);
        break;
      case "reconnect":
        this.#hint = m;
        break;
    }
  }

  get after() { return this.#after; }
  set after(id) { this.#after = id; }

  // give shows a notification unless it has been shown, and says whether it was fresh.
  give(m) {
    if (this.#seen.has(m.id)) return false;
    this.#seen.add(m.id);
    if (this.#seen.size > SEEN_LIMIT) this.#seen.delete(this.#seen.values().next().value);
    show(m);
    return true;
  }

  #closed(e) {
    if (this.#stopped) return;
    const why = e.reason || `closed with code ${e.code}`;
    if (FINAL.has(e.code)) this.#end(why);
    else this.#retry(e.code === 1012 ? "the server restarts" : why);
  }

  // retry comes back after the pause the server asked for, or one that grows
  // with each failure; either is spread so that players do not come at once.
  #retry(why) {
    const grown = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** this.#failures++);
    const pause = this.#hint ? this.#hint.after_ms * (1 + Math.random() / 10) : grown * (0.5 + Math.random());
    const url = this.#hint?.url;
    this.#hint = undefined;
    status("wait", `${why}; again in ${(pause / 1000).toFixed(1)} s`);
    this.#timer = setTimeout(() => this.open(url), pause);
  }

  #end(why) {
    this.close();
    disconnected();
    status("down", why);
  }

  close() {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#socket?.close(1000);
  }
}

// Session is one socket's part of a Connection: it asks for what was missed,
// sets aside what comes before the answer because it is newer, and acknowledges.
class Session {
  #socket; #connection; #asked; #retry; #ackTimer;
  #phase = "live"; // asking, replay, or behind: the server could not look, and is asked again
  #replay = 0; // notifications of the replay that are still to come
  #last = "";
  #aside = [];
  #acks = [];

  constructor(socket, connection) {
    this.#socket = socket;
    this.#connection = connection;
  }

  receive(m) {
    switch (m.t) {
      case "hello":
        if (!m.resume) break;
        this.#phase = "asking";
        this.#asked = this.#connection.after;
        this.#ask();
        break;
      case "resumed":
        this.#phase = "replay";
        this.#replay = m.count;
        this.#last = m.last;
        this.#caughtUp();
        break;
      case "error":
        if (m.of === "resume") this.#refused(m.code);
        break;
      case "notify":
        this.#notification(m);
        break;
    }
  }

  end() {
    clearTimeout(this.#retry);
    clearTimeout(this.#ackTimer);
  }

  #send(m) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(m));
  }

  #ask() { this.#send({ t: "resume", after: this.#asked }); }

  #refused(code) {
    if (this.#phase === "live") return;
    this.#phase = "behind"; // and the position stays, so that nothing is skipped later
    this.#release();
    if (code === "unavailable") this.#retry = setTimeout(() => this.#ask(), RESUME_AGAIN * (1 + Math.random()));
  }

  #notification(m) {
    if (this.#phase === "asking") {
      this.#aside.push(m);
      if (this.#aside.length > ASIDE_LIMIT) this.#socket.close(); // no answer to resume
      return;
    }
    const fresh = this.#give(m);
    if (this.#phase === "replay") {
      this.#replay--;
      this.#caughtUp();
    } else if (this.#phase === "live" && fresh && m.stored) {
      this.#connection.after = m.id;
    }
  }

  #caughtUp() {
    if (this.#replay > 0) return;
    this.#phase = "live";
    this.#connection.after = this.#last;
    this.#release();
  }

  #release() {
    const aside = this.#aside;
    this.#aside = [];
    for (const m of aside) {
      if (this.#give(m) && m.stored && this.#phase === "live") this.#connection.after = m.id;
    }
  }

  #give(m) {
    const fresh = this.#connection.give(m);
    if (m.ack) {
      this.#acks.push(m.id);
      this.#ackTimer ??= setTimeout(() => this.#acknowledge(), ACK_DELAY);
      if (this.#acks.length >= ACK_BATCH) this.#acknowledge();
    }
    return fresh;
  }

  #acknowledge() {
    clearTimeout(this.#ackTimer);
    this.#ackTimer = undefined;
    if (this.#acks.length > 0) this.#send({ t: "ack", ids: this.#acks });
    this.#acks = [];
  }
}

let connection;

function connect(user, service) {
  connection = new Connection(user, service);
  connection.open();
  $("user").disabled = $("service").disabled = true;
  $("connect-button").textContent = "Disconnect";
  $("connect-button").classList.add("leave");
  if (!$("to").value) $("to").value = user;
  const q = new URLSearchParams({ user });
  if (service) q.set("service", service);
  history.replaceState(null, "", `?${q}`);
  hint(user);
}

function disconnected() {
  connection = undefined;
  $("user").disabled = $("service").disabled = false;
  $("connect-button").textContent = "Connect";
  $("connect-button").classList.remove("leave");
}

$("connect").addEventListener("submit", (e) => {
  e.preventDefault();
  if (connection) {
    connection.close();
    disconnected();
    status("idle", "not connected");
    history.replaceState(null, "", "/");
    return;
  }
  connect($("user").value.trim(), $("service").value.trim());
});

function status(state, text) {
  $("status").dataset.state = state;
  $("status-text").textContent = text;
}

// ---- feed

let received = 0;

function show(m) {
  const item = element("li", "note");
  const head = element("div", "note-head");
  head.append(element("span", m.type ? "note-type" : "note-type none", m.type || "no type"));
  if (m.from) head.append(element("span", "chip", `from ${m.from}`));
  const now = new Date();
  const time = element("time", "", clock(now));
  time.dateTime = now.toISOString();
  time.title = m.id;
  head.append(time);
  item.append(head, element("pre", "", JSON.stringify(m.data, null, 2)));
  $("feed").prepend(item);
  while ($("feed").childElementCount > FEED_LIMIT) $("feed").lastElementChild.remove();
  $("count").textContent = ++received;
  $("empty").hidden = true;
  $("clear").hidden = false;
}

function clock(d) {
  const two = (n) => String(n).padStart(2, "0");
  return `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}.${String(d.getMilliseconds()).padStart(3, "0")}`;
}

$("clear").addEventListener("click", () => {
  $("feed").replaceChildren();
  $("count").textContent = received = 0;
  $("empty").hidden = false;
  $("clear").hidden = true;
});

// hint shows how to reach user from a shell.
function hint(user) {
  $("empty-text").textContent = "Nothing yet. Use the form, or a shell:";
  const body = JSON.stringify({ users: [user], type: "hello", data: { text: "Hi!" } });
  const quoted = body.replaceAll("'", "'\\''"); // a user id may hold a quote
  $("curl").textContent = `curl ${location.origin}/notify -H 'Content-Type: application/json' -d '${quoted}'`;
}

// ---- form

$("class").addEventListener("change", () => {
  const latest = $("class").value === "latest";
  $("key-label").hidden = !latest;
  $("key").required = latest;
});

// data is the form's data: JSON when it reads as such, else the text itself.
function data() {
  const text = $("data").value;
  try {
    return { value: JSON.parse(text), kind: "JSON" };
  } catch {
    return { value: text, kind: "not JSON: sent as a string" };
  }
}

$("data").addEventListener("input", () => { $("data-kind").textContent = data().kind; });

$("send").addEventListener("submit", async (e) => {
  e.preventDefault();
  const body = { users: $("to").value.split(/[\s,]+/).filter(Boolean), data: data().value };
  for (const name of ["type", "from"]) if ($(name).value.trim()) body[name] = $(name).value.trim();
  if ($("class").value !== "must") body.class = $("class").value;
  if (body.class === "latest") body.key = $("key").value;
  if ($("store").value) body.store = $("store").value;
  $("send-button").disabled = true;
  try {
    await post(body);
  } catch (err) {
    result("bad", err.message);
  } finally {
    $("send-button").disabled = false;
  }
});

async function post(body) {
  const started = performance.now();
  const res = await fetch("/notify", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  await refuse(res);
  const r = await res.json();
  const ms = (performance.now() - started).toFixed(1);
  result("good", `Sent to ${plural(r.targets, "user")}: ${r.online} online, ${r.offline} offline, ${plural(r.processes, "process", "processes")}, ${ms} ms.`);
}

function result(state, text) {
  $("result").dataset.state = state;
  $("result").textContent = text;
}

const plural = (n, one, many = `${one}s`) => `${n} ${n === 1 ? one : many}`;

// ---- who is online

const ONLINE_EVERY = 2000; // ms

async function refreshOnline() {
  let users;
  try {
    users = (await getJSON("/dev/online")).users;
  } catch {
    return; // the status line tells of a server that is away; the next look may work
  }
  $("online-count").textContent = users.length;
  $("nobody").hidden = users.length > 0;
  // Keep the focus of whoever walks the list by keyboard.
  const focused = document.activeElement?.dataset.user;
  $("online").replaceChildren(...users.map(person));
  if (focused) [...$("online").querySelectorAll("button")].find((b) => b.dataset.user === focused)?.focus();
}

function person(p) {
  const button = element("button", "person");
  button.type = "button";
  button.dataset.user = p.user;
  button.title = `Send to ${p.user}`;
  const chips = element("span", "chips");
  for (const s of p.services) {
    if (s.service) chips.append(element("span", "chip", s.connections > 1 ? `${s.service} ×${s.connections}` : s.service));
  }
  button.append(element("b", "", p.user), element("small", "", plural(p.connections, "device")), chips);
  button.addEventListener("click", () => {
    $("to").value = p.user;
    $("data").focus();
  });
  const item = element("li");
  item.append(button);
  return item;
}

async function poll() {
  if (!document.hidden) await refreshOnline();
  setTimeout(poll, ONLINE_EVERY);
}

// ---- HTTP

// refuse throws what a problem document says.
async function refuse(res) {
  if (res.ok) return;
  let text = `HTTP ${res.status}`;
  try {
    const p = await res.json();
    text = [p.title, p.field, p.detail].filter(Boolean).join(": ");
  } catch { /* not from Homing: the status has to do */ }
  throw Object.assign(new Error(text), { permanent: res.status >= 400 && res.status < 500 });
}

async function getJSON(path) {
  const res = await fetch(path);
  await refuse(res);
  return res.json();
}

async function getText(path) {
  const res = await fetch(path);
  await refuse(res);
  return res.text();
}

// ---- start

const wanted = new URLSearchParams(location.search);
$("user").value = wanted.get("user") ?? "";
$("service").value = wanted.get("service") ?? "";
hint($("user").value || "ann");
$("empty-text").textContent = "Connect as a player, and what is sent to them shows here at once.";
if ($("user").value) connect($("user").value, $("service").value);
poll();
