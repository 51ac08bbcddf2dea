// A player's seat in a room, by homing.v1: it waits for a match, joins, reads
// frames, comes back when the line was lost, and follows a room that moves.

import { Connection } from "./connection.js";

const AGAIN = 1000; // ms before what was not available is asked for again
const CUT = 1500; // ms that a line stays cut
const RATE_SPAN = 2000; // ms over which frames per second are counted

// Refusals of join and match after which asking again may help.
const PASSING = new Set(["unavailable", "rate_limited", "too_early"]);

const ENDED = {
  left: "you have left",
  kicked: "you were sent away",
  gone: "you were away for too long",
  expired: "you came too late",
  replaced: "another page has taken this seat",
};

// Seat is a user's place in one room after another. It tells page:
// status(state, text), changed(), event(event), note(text, kind), and over(text).
export class Seat {
  phase = "connecting"; // lobby, matching, joining, playing, lost, moving, or ended
  user;
  match; // as match.found tells of it
  seat = -1;
  room = "";
  epoch = 0;
  hz = 20;
  tick = 0;
  ticked = 0; // when it was read
  state = new Map();
  n = 0; // number of the last event
  frames = 0;
  repeats = 0; // events that came twice: there are none
  lost = 0; // times that events were missing
  moves = 0;
  gap; // ms without a frame at the last move
  away; // ms without a frame at the last lost line
  lastError = "";
  closed; // why the last room ended for this user, or why there is none

  #queue; #page; #connection; #ticket; #url; #timer;
  #wants = false; // a match
  #ref = 0;
  #leaving; // ref of what was asked
  #arrivals = []; // of the latest frames
  #since; // when the last frame before a gap was read
  #moving = false;

  constructor(user, queue, page) {
    this.user = user;
    this.#queue = queue;
    this.#page = page;
    this.#connection = new Connection(user, {
      status: (state, text) => this.#status(state, text),
      up: () => this.#up(),
      show: (m) => this.#notified(m),
      other: (m) => this.#receive(m),
      ended: (why) => this.#stopped(why),
    });
  }

  // open connects; into the seat that kept names when there is one.
  open(kept) {
    if (kept) this.#take(kept);
    this.#connection.open();
  }

  // kept is what open needs to come back into this seat after a reload.
  get kept() { return this.#ticket ? { url: this.#url, ticket: this.#ticket, room: this.room } : undefined; }

  get rate() {
    const since = performance.now() - RATE_SPAN;
    while (this.#arrivals[0] < since) this.#arrivals.shift();
    return this.#arrivals.length / (RATE_SPAN / 1000);
  }

  // now is the tick that the room is at, with its fraction.
  get now() {
    const live = this.phase === "playing" ? (performance.now() - this.ticked) * this.hz / 1000 : 0;
    return this.tick + live;
  }

  find() {
    this.closed = undefined;
    this.#wants = true;
    this.#turn("matching");
    this.#ask({ t: "match", queue: this.#queue });
  }

  stopFinding() {
    this.#wants = false;
    this.#ask({ t: "unmatch", queue: this.#queue });
    this.#turn("lobby");
  }

  say(data) { if (this.phase === "playing") this.#connection.send({ t: "say", data }); }

  cut() {
    this.#page.note("the line was cut", "bad");
    this.#connection.cut(CUT);
  }

  leave() { this.#leaving = this.#ask({ t: "leave" }); }

  #ask(m) {
    const ref = `${m.t}-${++this.#ref}`;
    this.#connection.send({ ...m, ref });
    return ref;
  }

  #turn(phase) {
    this.phase = phase;
    this.#page.changed();
  }

  #status(state, text) {
    if (state === "wait" && ["playing", "joining"].includes(this.phase)) {
      this.#since ??= this.#lastFrame();
      this.#turn("lost");
    }
    this.#page.status(state, text);
  }

  #lastFrame() { return this.ticked || performance.now(); }

  // up says what this user is here for.
  #up() {
    if (this.#ticket) this.#join();
    else if (this.#wants) this.find();
    else this.#turn("lobby");
    this.#page.status("up", `connected as ${this.user}`);
  }

  #join() {
    this.#turn("joining");
    const m = { t: "join", ticket: this.#ticket };
    if (this.n > 0) m.n = this.n;
    this.#ask(m);
  }

  #notified(m) {
    if (m.type !== "match.found" || this.#ticket || !m.data?.ticket) return;
    this.match = m.data;
    this.#page.note(`a match: ${m.data.players.join(", ")}`, "good");
    this.#take(m.data);
    this.#connection.redial();
  }

  // take has the connection go to a room.
  #take({ url, ticket, room }) {
    if (room !== this.room) this.#forget();
    this.#wants = false;
    this.#ticket = ticket;
    this.#url = url;
    this.room = room;
    this.#connection.aim({ url, ticket });
    if (this.phase !== "moving") this.#turn("joining");
  }

  #forget() {
    this.seat = -1;
    this.n = this.epoch = this.tick = this.ticked = 0;
    this.state.clear();
    this.#since = undefined;
    this.#moving = false;
  }

  #receive(m) {
    switch (m.t) {
      case "joined": this.#joined(m); break;
      case "frame": this.#frame(m); break;
      case "moved": this.#moved(m); break;
      case "left": this.#left(m.why === "closed" ? `the room is ${m.reason}` : ENDED[m.why] ?? m.why, m.reason); break;
      case "ok": if (this.#leaving !== undefined && m.ref === this.#leaving) this.#left(ENDED.left); break;
      case "error": this.#refused(m); break;
    }
  }

  #joined(m) {
    this.seat = m.seat;
    this.epoch = m.epoch;
    this.hz = m.hz;
    this.#take({ url: this.#url, ticket: m.ticket ?? this.#ticket, room: m.room });
    this.#turn("playing");
  }

  #frame(m) {
    if (this.#since !== undefined) this.#resumed();
    this.#arrivals.push(performance.now());
    this.frames++;
    this.tick = m.tick;
    this.ticked = performance.now();
    if (m.recovered !== undefined) this.state.clear(); // the first of a connection has every state there is
    if (m.recovered === false) this.lost++;
    for (const [key, value] of Object.entries(m.state ?? {})) {
      if (value === null) this.state.delete(key);
      else this.state.set(key, value);
    }
    for (const e of m.events ?? []) this.#event(e);
  }

  #event(e) {
    if (e.n <= this.n) {
      this.repeats++;
      return;
    }
    this.n = e.n;
    this.#page.event(e);
  }

  // resumed notes how long no frame came.
  #resumed() {
    const ms = Math.round(performance.now() - this.#since);
    this.#since = undefined;
    if (this.#moving) this.gap = ms;
    else this.away = ms;
    this.#page.note(this.#moving ? `the room has moved: ${ms} ms still` : `back in the seat after ${ms} ms`, "good");
    this.#moving = false;
  }

  #moved(m) {
    this.moves++;
    this.#moving = true;
    this.#since ??= this.#lastFrame();
    this.#turn("moving");
    this.#take(m);
    this.#connection.redial();
  }

  // left is the end of this seat; reason may be empty.
  #left(why, reason) {
    if (!this.#ticket) return;
    this.closed = reason && !why.includes(reason) ? `${why}: ${reason}` : why;
    this.#ticket = this.#url = this.#leaving = undefined;
    this.#connection.aim();
    this.room = ""; // what was seen last stays, until there is another room
    this.#since = undefined;
    this.#moving = false;
    this.#turn("lobby");
    this.#page.note(this.closed, "");
    this.#page.over(this.closed);
  }

  #refused(m) {
    const of = m.of ?? String(m.ref ?? "").split("-")[0]; // an older server names only what it knows
    this.lastError = `${of} ${m.code}`.trim();
    if (of === "join" && this.phase === "joining") {
      if (!this.#later(m, () => this.#join())) this.#left(m.reason ? `the room is ${m.reason}` : `no seat: ${m.code}`);
    } else if (of === "match" && this.#wants) {
      if (this.#later(m, () => this.find())) return;
      this.#wants = false;
      this.closed = `no match: ${m.code}`;
      this.#turn("lobby");
      this.#page.over(this.closed);
    } else if (m.ref === this.#leaving && m.ref !== undefined) {
      this.#left(ENDED.left);
    } else {
      this.#page.note(`refused: ${this.lastError}`, "bad");
    }
  }

  // later asks again after a while when that may help.
  #later(m, ask) {
    if (!PASSING.has(m.code)) return false;
    const phase = this.phase;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => { if (this.phase === phase) ask(); }, AGAIN * (0.5 + Math.random()));
    return true;
  }

  #stopped(why) {
    this.#turn("ended");
    this.#page.status("down", why);
    this.#page.over(why);
  }
}
