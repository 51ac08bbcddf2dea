// The page: a player's connection (homing.v1), a feed, a form, and who is
// online.

import { Connection } from "./connection.js";
import { $, element, plural } from "./dom.js";
import { acknowledged, hint, show } from "./feed.js";
import { getJSON, refuse } from "./http.js";

// ---- connection

let connection;

const page = {
  status,
  show,
  acknowledged,
  up(hello) {
    status("up", `connected as ${hello.user}`);
    refreshOnline();
  },
  gap() { status("up", `${$("status-text").textContent}; some notifications are gone for good`); },
  ended(why) {
    disconnected();
    status("down", why);
  },
};

function connect(user, service) {
  connection = new Connection(user, service, page);
  connection.open();
  $("user").disabled = $("service").disabled = true;
  $("connect-button").textContent = "Disconnect";
  $("connect-button").classList.add("leave");
  if (!$("to").value) $("to").value = user;
  const q = new URLSearchParams({ user });
  if (service) q.set("service", service);
  history.replaceState(null, "", `?${q}`);
  hint(user, "Nothing yet. Use the form, or a shell:");
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

// ---- start

const wanted = new URLSearchParams(location.search);
$("user").value = wanted.get("user") ?? "";
$("service").value = wanted.get("service") ?? "";
hint($("user").value || "ann", "Connect as a player, and what is sent to them shows here at once.");
if ($("user").value) connect($("user").value, $("service").value);
poll();
