// The page of the game: tabs are matched, play in one room, and try to break it.
// What tests want to know stands in window.demo.

import { Board, seatColor } from "./board.js";
import { $, clock, element, plural } from "./dom.js";
import { refuse } from "./http.js";
import { Seat } from "./seat.js";

const QUEUE = "duel";
const SAY_AGAIN = 200; // ms after which a heading is said again: the room forgets it
const SAY_PAUSE = 50; // ms between two headings
const STAND = 8; // units from a player within which a pointer means no way
const LOG_LIMIT = 80;
const NEARLY_LOW = 30; // pixels
const SHOW_EVERY = 200; // ms
const LOOK_EVERY = 2000; // ms between two looks at the room by the API
const SHORT = 10; // seconds that are left

const CARDS = {
  dash: "run for 2 seconds",
  swap: "change places",
  turn: "turn the bar",
};

// ---- who plays

const wanted = new URLSearchParams(location.search);
const pick = (words) => words[Math.floor(Math.random() * words.length)];
const user = wanted.get("user")
  || `${pick(["swift", "brave", "calm", "lucky", "quiet", "merry", "bold", "keen"])}-${pick(["otter", "heron", "lynx", "wren", "fox", "hare", "robin", "pike"])}-${Math.floor(Math.random() * 900 + 100)}`;
const queue = wanted.get("queue") || QUEUE;
wanted.set("user", user);
history.replaceState(null, "", `?${wanted}`);

const LOOKING = queue === QUEUE
  ? ["Looking for another player…", "Open this page in a second tab: two players make a match."]
  : ["Looking for other players…", `Open this page in further tabs until enough of them wait in ${queue}.`];
const KEPT = `seat of ${user}`; // for a reload of this tab

// ---- the seat

const board = new Board($("board"));
let scores; // of the last room
const seat = new Seat(user, queue, { status, changed, event, note, over });

// demo is for tests.
const demo = window.demo = {
  user,
  events: 0,
  players: [], // users that were seen
  result: undefined,
  get phase() { return seat.phase; },
  get seat() { return seat.seat; },
  get room() { return seat.room; },
  get epoch() { return seat.epoch; },
  get tick() { return seat.tick; },
  get frames() { return seat.frames; },
  get rate() { return seat.rate; },
  get n() { return seat.n; },
  get repeats() { return seat.repeats; },
  get lost() { return seat.lost; },
  get moves() { return seat.moves; },
  get gap() { return seat.gap; },
  get away() { return seat.away; },
  get closed() { return seat.closed; },
  get lastError() { return seat.lastError; },
  get state() { return Object.fromEntries(seat.state); },
};

function status(state, text) {
  $("status").dataset.state = state;
  $("status-text").textContent = text;
}

// changed is told whenever the seat's phase is another.
function changed() {
  if (seat.kept) sessionStorage.setItem(KEPT, JSON.stringify(seat.kept));
  else sessionStorage.removeItem(KEPT);
  if (seat.phase === "matching") scores = undefined;
  showPhase();
  show();
}

function event({ from, data }) {
  demo.events++;
  const who = from === user ? "you" : from;
  const at = seatOf(from);
  switch (data?.is) {
    case "came": note(`${who} came`, "good"); break;
    case "left": note(`${who} left`); break;
    case "coin": board.effect(at, "+1"); break;
    case "caught":
      board.effect(at, "−1");
      note(`a guard caught ${who}`, "bad");
      break;
    case "played":
      board.effect(at, data.text);
      note(`${who} played ${data.text}`);
      break;
    case "drew": note(`you drew ${data.text}`); break;
    case "chat": note(`${who}: ${data.text}`, "chat"); break;
    case "over":
      demo.result = data.result;
      scores = data.result.scores;
      break;
  }
}

function seatOf(user) {
  for (const [key, value] of seat.state) if (key.startsWith("who.") && value.user === user) return Number(key.slice(4));
  return -1;
}

function over(text) { if (!scores) veil(text[0].toUpperCase() + text.slice(1), ""); }

let low = true; // the last line of the log is to be in sight

function note(text, kind = "") {
  const line = element("li");
  line.dataset.kind = kind;
  const time = element("time", "", clock(new Date()).slice(0, 8));
  line.append(time, element("span", "", text));
  $("log").append(line);
  while ($("log").childElementCount > LOG_LIMIT) $("log").firstElementChild.remove();
  lower();
}

// lower shows the last line, unless the user reads older ones.
function lower() { if (low) $("log-box").scrollTop = $("log-box").scrollHeight; }

let top = 0; // of the log's box, as it was scrolled last
$("log-box").addEventListener("scroll", ({ target: box }) => {
  const nearly = box.scrollHeight - box.scrollTop - box.clientHeight < NEARLY_LOW;
  low = nearly || low && box.scrollTop >= top; // a box that shrinks is not scrolled up
  top = box.scrollTop;
});
new ResizeObserver(lower).observe($("log-box")); // players who come take room from it

// ---- what is over the board

function veil(title, text) {
  $("veil-title").textContent = title;
  $("veil-text").textContent = text;
}

function showPhase() {
  const { phase, closed } = seat;
  const playing = phase === "playing";
  document.body.dataset.phase = phase;
  $("veil").hidden = playing || phase === "lost" || phase === "moving";
  $("spinner").hidden = !["connecting", "matching", "joining"].includes(phase);
  $("find").hidden = phase !== "lobby";
  $("find").textContent = closed ? "Play again" : "Find a match";
  $("stop").hidden = phase !== "matching";
  $("cut").disabled = $("move").disabled = $("leave").disabled = $("chat-text").disabled = $("chat-send").disabled = !playing;
  switch (phase) {
    case "connecting": veil("Connecting…", ""); break;
    case "matching": veil(...LOOKING); break;
    case "joining": veil("Taking the seat…", ""); break;
    case "lobby": if (!closed) veil("Ready", `You are ${user}.`); break;
  }
  banner({ lost: ["The line is cut: coming back…", "bad"], moving: ["The room is moving: following…", "good"] }[phase]);
  podium();
}

function banner([text, kind] = ["", ""]) {
  $("banner").textContent = text;
  $("banner").dataset.kind = kind;
}

// podium shows the scores of a game that is over.
function podium() {
  const list = seat.phase === "lobby" && scores ? [...scores].sort((a, b) => b.score - a.score) : [];
  $("podium").replaceChildren(...list.map((s) => {
    const line = element("li", s.score === list[0].score ? "won" : "");
    line.append(element("span", "", s.user === user ? `${s.user} (you)` : s.user), element("span", "", plural(s.score, "coin")));
    return line;
  }));
  $("podium").hidden = list.length === 0;
  if (list.length > 1) {
    const tie = list[0].score === list[1].score;
    veil(tie ? "A draw" : list[0].user === user ? "You win" : `${list[0].user} wins`, "");
  }
}

// ---- what is beside the board

function show() {
  const players = [...seat.state].filter(([key]) => key.startsWith("who.")).sort(([a], [b]) => a.localeCompare(b, "en", { numeric: true }));
  for (const [, p] of players) if (!demo.players.includes(p.user)) demo.players.push(p.user);
  update($("players"), players, ([key, p]) => playerLine(Number(key.slice(4)), p));
  $("players-count").textContent = players.length;
  $("nobody").hidden = players.length > 0;
  update($("hand"), seat.room && seat.state.get(`hand.${seat.seat}`) || [], cardButton);
  showClock();
  fact("rate", seat.phase === "playing" ? seat.rate.toFixed(0) : "");
  fact("tick", seat.tick || "");
  fact("epoch", seat.epoch || "");
  fact("gap", seat.gap === undefined ? "" : `${seat.gap} ms`, true);
  fact("room", seat.room);
  if (!seat.room) for (const name of ["process", "p99", "overruns"]) fact(name, "");
  Object.assign(document.body.dataset, { seat: seat.seat, room: seat.room, epoch: seat.epoch, frames: seat.frames, gap: seat.gap ?? "", error: seat.lastError });
}

// update makes a list's lines anew when what they show is another: what has the
// focus stays as long as it can.
function update(list, values, line) {
  const text = JSON.stringify(values);
  if (list.dataset.shows === text) return;
  list.dataset.shows = text;
  const focused = [...list.children].findIndex((e) => e.contains(document.activeElement));
  list.replaceChildren(...values.map(line));
  if (focused >= 0) (list.children[Math.min(focused, list.childElementCount - 1)]?.querySelector("button") ?? $("board")).focus();
}

function playerLine(at, p) {
  const mine = at === seat.seat;
  const line = element("li", mine ? "me" : "");
  const swatch = element("span", "swatch");
  swatch.style.background = `var(${seatColor(at)})`;
  const name = element("b", "", p.user);
  if (mine) name.append(" ", element("small", "", "you"));
  line.append(swatch, name, element("span", "points", plural(p.score, "coin")));
  return line;
}

function cardButton(card, i) {
  const button = element("button", "playing-card");
  button.type = "button";
  button.setAttribute("aria-label", `Play ${card.card}: ${CARDS[card.card] ?? ""} (key ${i + 1})`);
  button.append(element("kbd", "", i + 1), element("b", "", card.card), element("small", "", CARDS[card.card] ?? ""));
  button.addEventListener("click", () => play(card));
  const item = element("li");
  item.append(button);
  return item;
}

const play = (card) => { if (card) seat.say({ play: card.id }); };

function showClock() {
  const game = seat.state.get("game");
  if (!game?.ends) {
    $("time").textContent = "–:––";
    $("time").classList.remove("short");
    $("goal").textContent = "";
    return;
  }
  const left = Math.max(0, Math.ceil((game.ends - seat.now) / seat.hz));
  $("time").textContent = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
  $("time").classList.toggle("short", left <= SHORT);
  $("goal").textContent = `first to ${plural(game.goal, "coin")}`;
}

function fact(name, value, flashes) {
  const e = $(`fact-${name}`);
  const text = value === "" || value === undefined ? "–" : String(value);
  if (e.textContent === text) return;
  e.textContent = text;
  e.title = text;
  if (!flashes) return;
  e.classList.remove("flash");
  void e.offsetWidth; // begins the animation anew
  e.classList.add("flash");
}

// ---- the room as the API sees it

async function look() {
  const { room, phase } = seat;
  if (phase !== "playing" || document.hidden) return;
  try {
    const res = await fetch(`/rooms/${encodeURIComponent(room)}`);
    if (!res.ok) return;
    const r = await res.json();
    fact("process", r.process);
    fact("p99", r.tick_p99_ms === undefined ? "" : `${r.tick_p99_ms.toFixed(2)} ms`);
    fact("overruns", r.overruns);
  } catch { /* the next look may work */ }
}

async function move() {
  $("move").disabled = true;
  note("asked to move the room…");
  try {
    const res = await fetch(`/rooms/${encodeURIComponent(seat.room)}/move`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: "{}",
    });
    await refuse(res);
    const { process } = await res.json();
    fact("process", process);
  } catch (err) {
    seat.lastError = `move ${err.message}`;
    note(`not moved: ${err.message}`, "bad");
  } finally {
    $("move").disabled = seat.phase !== "playing";
  }
}

$("find").addEventListener("click", () => seat.find());
$("stop").addEventListener("click", () => seat.stopFinding());
$("cut").addEventListener("click", () => seat.cut());
$("move").addEventListener("click", move);
$("leave").addEventListener("click", () => seat.leave());
$("chat").addEventListener("submit", (e) => {
  e.preventDefault();
  const chat = $("chat-text").value.trim();
  if (chat) seat.say({ chat });
  $("chat-text").value = "";
});

// ---- walking

const KEYS = {
  ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0],
  KeyW: [0, -1], KeyS: [0, 1], KeyA: [-1, 0], KeyD: [1, 0],
};
const held = new Set();
let pointer; // where on the board it is pressed
let said = "0,0";
let saidAt = 0;

const writing = (e) => e.target instanceof HTMLInputElement || e.ctrlKey || e.metaKey || e.altKey;

addEventListener("keydown", (e) => {
  if (writing(e)) return;
  if (KEYS[e.code]) {
    e.preventDefault();
    held.add(e.code);
    steer();
  } else if (/^Digit[1-9]$/.test(e.code) && !e.repeat) {
    play(seat.state.get(`hand.${seat.seat}`)?.[Number(e.code.slice(5)) - 1]);
  }
});
addEventListener("keyup", (e) => { if (held.delete(e.code)) steer(); });
addEventListener("blur", () => { held.clear(); pointer = undefined; });

$("board").addEventListener("pointerdown", (e) => {
  $("board").setPointerCapture(e.pointerId);
  pointer = board.place(e);
  steer();
});
$("board").addEventListener("pointermove", (e) => { if (pointer) pointer = board.place(e); });
for (const end of ["pointerup", "pointercancel"]) $("board").addEventListener(end, () => { pointer = undefined; steer(); });

// heading is where the player wants to go, in percent of its speed.
function heading() {
  const at = seat.state.get(`at.${seat.seat}`);
  let x = 0;
  let y = 0;
  if (pointer && at) {
    x = pointer.x - at[0];
    y = pointer.y - at[1];
    if (Math.hypot(x, y) < STAND) return [0, 0];
  }
  for (const key of held) {
    x += KEYS[key][0];
    y += KEYS[key][1];
  }
  const far = Math.hypot(x, y);
  return far === 0 ? [0, 0] : [Math.round(100 * x / far), Math.round(100 * y / far)];
}

// steer says a heading that is another, and one that lasts again and again.
function steer() {
  const way = heading();
  const text = String(way);
  const now = performance.now();
  const due = text === said ? SAY_AGAIN : SAY_PAUSE;
  if (text === "0,0" ? said === text : now - saidAt < due) return;
  said = text;
  saidAt = now;
  seat.say({ move: way });
}

// ---- start

function paint() {
  board.draw(seat.state, seat.now, seat.seat);
  steer();
  requestAnimationFrame(paint);
}

function keptSeat() {
  try {
    return JSON.parse(sessionStorage.getItem(KEPT)) ?? undefined;
  } catch {
    return undefined;
  }
}

const kept = keptSeat();
showPhase();
seat.open(kept);
if (!kept) seat.find();
paint();
setInterval(show, SHOW_EVERY);
setInterval(look, LOOK_EVERY);
