// A player's connection by homing.v1, as docs/protocol.md says what a client
// should do.

import { getJSON, getText } from "./http.js";

// Close codes after which coming back would only meet the same refusal: the
// protocol, policy, or somebody who ended the connection on purpose.
const FINAL = new Set([1000, 1002, 1003, 1007, 1008, 1009, 1010, 4003, 4010]);

// What close codes mean, before the reason that the server gives.
const MEANING = {
  1001: "the server went away",
  1002: "this page broke the protocol",
  1006: "the connection was lost or refused",
  1008: "this page sent more than it may",
  1009: "this page sent a message that is too large",
  1011: "the server failed",
  1012: "the server restarts",
  1013: "the hub is not available",
  4003: "a backend disconnected this user",
  4008: "this page read too slowly",
  4009: "this page did not answer a ping",
  4010: "this user has opened too many connections, and this was the oldest",
};

const FIRST_PAUSE = 250; // ms
const LONGEST_PAUSE = 32_000;
const LONGEST_WISH = 120_000; // ms that a server may ask to wait
const STEADY = 10_000; // a connection that lasted so long was no failure
const LOST_ROOM = 2; // failures in a row after which a room is looked for at the front

const SILENCE = 15_000; // ms beyond the server's ping interval
const SEEN_LIMIT = 1024;
const ASIDE_LIMIT = 1024;
const RESUME_AGAIN = 1000; // ms
const ACK_DELAY = 50; // ms
const ACK_BATCH = 64;

// Connection keeps a user connected until it is ended for good. It tells page:
// status(state, text), up(), show(notification), ended(why), and other(message) of
// what is no notification's.
export class Connection {
  #user; #page; #front; #token; #socket; #session; #timer;
  #dials = 0; // asked for so far: an older one is not begun any more
  #room; // where to go instead of the front: {url, ticket}
  #after = ""; // the stored notification that was seen last
  #seen = new Set(); // ids shown, oldest first
  #failures = 0; // in a row
  #opened = Infinity; // when hello came
  #stopped = false;
  #hint; // until when the server asked to wait

  constructor(user, page) {
    this.#user = user;
    this.#page = page;
  }

  async open() {
    const dial = ++this.#dials;
    this.#page.status("wait", "connecting…");
    try {
      this.#front ??= (await getJSON("/dev/config")).front;
      const token = await getText(`/dev/token?${new URLSearchParams({ user: this.#user })}`);
      if (!this.#stopped && dial === this.#dials) this.#dial(token);
    } catch (err) {
      if (this.#stopped || dial !== this.#dials) return;
      if (err.permanent) this.#end(err.message);
      else this.#retry(err.message, 0);
    }
  }

  // aim has the connection go to the worker of a room from now on, with the ticket
  // that shows the way there; without a room to the front.
  aim(room) { this.#room = room; }

  // redial leaves the socket for a new one at once.
  redial() {
    clearTimeout(this.#timer);
    const ws = this.#socket;
    if (ws) {
      ws.onmessage = ws.onclose = null;
      this.#session.end();
      ws.close(1000);
    }
    if (!this.#token) {
      this.open();
      return;
    }
    this.#dials++;
    this.#dial(this.#token);
  }

  // cut ends the socket as a lost line would, for so many ms.
  cut(ms) {
    this.#hint = performance.now() + ms;
    this.#socket?.close();
    this.#socket?.onclose?.({ code: 1006, reason: "the line was cut" });
  }

  send(m) { this.#session?.send(m); }

  #address() {
    if (!this.#room) return this.#front;
    const url = new URL(this.#failures < LOST_ROOM ? this.#room.url : this.#front);
    url.searchParams.set("room", this.#room.ticket);
    return url.href;
  }

  #dial(token) {
    const ws = new WebSocket(this.#address(), ["homing.v1", `bearer.${token}`]);
    this.#token = token;
    this.#socket = ws;
    this.#opened = Infinity;
    const session = this.#session = new Session(ws, this);
    ws.onmessage = (e) => this.#receive(session, JSON.parse(e.data));
    ws.onclose = (e) => {
      ws.onmessage = ws.onclose = null; // also when nothing was heard: a dead socket takes long to close
      session.end();
      this.#closed(e);
    };
  }

  #receive(session, m) {
    session.receive(m);
    switch (m.t) {
      case "hello":
        this.#opened = performance.now();
        this.#page.up();
        break;
      case "reconnect":
        this.#hint = performance.now() + Math.min(LONGEST_WISH, Math.max(0, m.after_ms));
        break;
      case "notify":
      case "resumed":
        break;
      default:
        this.#page.other(m);
    }
  }

  get after() { return this.#after; }
  set after(id) { this.#after = id; }

  // give shows a notification unless it has been shown, and says whether it was fresh.
  give(m) {
    if (this.#seen.has(m.id)) return false;
    this.#seen.add(m.id);
    if (this.#seen.size > SEEN_LIMIT) this.#seen.delete(this.#seen.values().next().value);
    this.#page.show(m);
    return true;
  }

  #closed(e) {
    if (this.#stopped) return;
    if (performance.now() - this.#opened > STEADY) this.#failures = 0;
    const why = explain(e.code, e.reason);
    if (FINAL.has(e.code)) this.#end(`${why}; the page stays away until you connect again`);
    else this.#retry(why, e.code);
  }

  #retry(why, code) {
    const pause = this.#pause(code);
    this.#hint = undefined;
    this.#page.status("wait", `${why}; again in ${(pause / 1000).toFixed(1)} s`);
    this.#timer = setTimeout(() => this.open(), pause);
  }

  // pause is what the server asked for, or one that grows with each failure;
  // either is spread so that players do not come at once.
  #pause(code) {
    const failures = this.#failures++;
    if (code === 1013) return 2500 + Math.random() * 5000;
    if (this.#hint !== undefined) return Math.max(this.#hint - performance.now(), 0) + Math.max(Math.random() * FIRST_PAUSE, grown(failures));
    if (code === 1012) return Math.max(Math.random() * 2000, grown(failures));
    return grown(failures + 1);
  }

  #end(why) {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#socket?.close(1000);
    this.#page.ended(why);
  }
}

// grown is the pause after so many failures in a row; 0 after none.
function grown(failures) {
  if (failures < 1) return 0;
  return Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (failures - 1)) * (0.5 + Math.random());
}

// explain says what a close code means, and the reason if there is one.
function explain(code, reason) {
  const meaning = MEANING[code] ?? "the connection was closed";
  return `${meaning}${reason ? `: ${reason}` : ""} (${code})`;
}

// Session is one socket's part of a Connection: it asks for what was missed,
// sets aside what comes before the answer because it is newer, and acknowledges.
class Session {
  #socket; #connection; #asked; #retry; #ackTimer;
  #phase = "live"; // asking, replay, or behind: the server could not look, and is asked again
  #replay = 0; // notifications of the replay that are still to come
  #last = "";
  #aside = [];
  #acks = []; // ids to acknowledge
  #ping; #silence; #pinger;

  constructor(socket, connection) {
    this.#socket = socket;
    this.#connection = connection;
  }

  receive(m) {
    this.#alive();
    switch (m.t) {
      case "hello":
        this.#watch(m.ping);
        if (!m.resume) break;
        this.#phase = "asking";
        this.#asked = this.#connection.after;
        this.#ask();
        break;
      case "resumed":
        if (this.#phase !== "asking" && this.#phase !== "behind") break;
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

  // watch asks for a sign of life now and then: the server's own pings do not
  // reach a page.
  #watch(ping) {
    if (!(ping > 0)) return;
    this.#ping = ping;
    this.#pinger = setInterval(() => this.send({ t: "ping" }), ping);
    this.#alive();
  }

  // alive gives the server another while to say something.
  #alive() {
    if (!this.#ping) return;
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => {
      this.#socket.close();
      this.#socket.onclose?.({ code: 1006, reason: "nothing was heard from the server" });
    }, this.#ping + SILENCE);
  }

  end() {
    clearInterval(this.#pinger);
    clearTimeout(this.#silence);
    clearTimeout(this.#retry);
    clearTimeout(this.#ackTimer);
  }

  send(m) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(m));
  }

  #ask() { this.send({ t: "resume", after: this.#asked }); }

  #refused(code) {
    if (this.#phase !== "asking" && this.#phase !== "behind") return;
    this.#phase = "behind"; // and the position stays, so that nothing is skipped later
    this.#release();
    if (code !== "unavailable" && code !== "rate_limited") return;
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#ask(), RESUME_AGAIN * (1 + Math.random()));
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
    if (this.#acks.length === 0) return;
    this.send({ t: "ack", ids: this.#acks });
    this.#acks = [];
  }
}
