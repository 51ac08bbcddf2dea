// The playground: players side by side, a form that sends to them, and who is online.

import { $, element, plural } from "./dom.js";
import { getJSON } from "./http.js";
import { Player } from "./player.js";
import { aim } from "./send.js";

// ---- players

const MOST = 12; // players: each holds a connection, and browsers bound those

const players = new Set();
let front;

async function add(user, service) {
  front ??= (await getJSON("/dev/config")).front;
  if (players.size >= MOST) throw new Error(`no more than ${MOST} players here; open another tab`);
  const player = new Player({ user, service }, front, () => remove(player));
  players.add(player);
  $("players").append(player.panel);
  if (!$("to").value) aim(user);
  changed();
}

function remove(player) {
  players.delete(player);
  player.panel.remove();
  player.close();
  changed();
  $("players-title").focus(); // the button that had it is gone
}

// changed shows how many there are, and writes them into the page's address.
function changed() {
  $("player-count").textContent = players.size;
  $("no-player").hidden = players.size > 0;
  const q = new URLSearchParams();
  for (const { user, service } of players) {
    q.append("user", user);
    q.append("service", service);
  }
  history.replaceState(null, "", players.size ? `?${q}` : "/");
}

$("add").addEventListener("input", () => $("user").setCustomValidity(""));
$("add").addEventListener("submit", async (e) => {
  e.preventDefault();
  try {
    await add($("user").value.trim(), $("service").value.trim());
    $("user").value = "";
  } catch (err) {
    $("user").setCustomValidity(err.message);
    $("user").reportValidity();
  }
});

// ---- who is online

const ONLINE_EVERY = 2000; // ms

async function refreshOnline() {
  let users;
  try {
    users = (await getJSON("/dev/online")).users;
  } catch {
    return; // the players' states tell of a server that is away; the next look may work
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
    aim(p.user);
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
const services = wanted.getAll("service");
const all = wanted.getAll("user").filter(Boolean).map((user, i) => [user, services[i] ?? ""]);
try {
  for (const [user, service] of all.slice(0, MOST)) await add(user, service);
} catch (err) {
  $("no-player").textContent = `The server does not answer: ${err.message}`;
}
poll();
