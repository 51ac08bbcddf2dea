import { STEADY, grown, now, passing, pause, permanent, soon, told } from "./backoff.js";
import { Emitter, type Off } from "./emitter.js";
import { HomingError } from "./errors.js";
import { type Ask, type End, Link } from "./link.js";
import { Room } from "./room.js";
import type { Storage } from "./storage.js";
import { Topic, publishable, Outbox, type Published } from "./topics.js";
import { type WebSocketClass, eventStream, webSocket } from "./transport.js";
import type { Notify, Resumed, ServerMessage } from "./wire.js";

export interface Options {
  /** ws:// or wss:// address of the front, with its path: wss://front.example.com/ws */
  url: string;
  /** Gives a fresh player token at each attempt to connect; a string that does not change will expire. */
  token?: string | (() => string | Promise<string>);
  /** The WebSocket to use; default: the global one. Node before 22 has none: give it that of the package ws. */
  WebSocket?: unknown;
  /** Reads event streams where WebSocket fails, and why the server refuses; default: the global one. null: never. */
  fetch?: typeof fetch | null;
  /** Keeps the place for the next run; default: nowhere. */
  storage?: Storage;
  /** Begins the keys in storage; default: "homing". */
  key?: string;
  /** Where a server may send the client: "game.example.com:8443"; default: to any host, by the scheme and path of url. */
  hosts?: string[];
  /** Ends the client. */
  signal?: AbortSignal;
  /** How long, in ms, a server may ask the client to wait; default: two minutes. */
  longestWait?: number;
}

/** How things stand. wait: ms until the next attempt. */
export interface Status extends End {
  state: "connecting" | "recovering" | "open" | "waiting" | "closed";
  wait?: number;
}

export interface Events {
  state: Status;
  /** Each notification once, one after the other: the next one waits for the promise that a listener returns, and so does the acknowledgement. */
  notify: Notify;
  /** Before what was missed. Not recovered: some is gone for good, ask the game's backend how things stand. */
  resumed: Resumed;
  /** Each change of who of the user's friends is online, with their services. */
  friends: ReadonlyMap<string, readonly string[]>;
  /** What else the server says, frames of rooms aside: presence, for example. */
  message: ServerMessage;
  /** A listener or the storage has failed, or the server has sent the client elsewhere in vain. Without a listener it is written to the console. */
  error: unknown;
}

const TRIES = 5; // refused tokens in a row
const LONGEST = 120_000; // ms
const ACKS = 256; // ids in one message
const SEEN = 1024; // ids that are remembered
const QUEUE = 8 << 20; // characters of notifications that may wait for their listeners, 100 more for each
const LEAVE = 1000; // ms that an event stream is read on, once there is a WebSocket
const STREAM = 30_000; // ms until WebSocket is tried again, doubled up to 16 times

interface Item {
  n?: Notify;
  then: Array<(() => void) | undefined>;
  size: number;
}

/** Keeps a user connected. It connects at once, and comes back until it is closed. */
export class Client extends Emitter<Events> {
  /** How things stand now. */
  status: Status = { state: "connecting" };
  /** Who of the user's friends is online, and from which services. */
  readonly friends = new Map<string, readonly string[]>();
  /** The user that the server knows the client as; empty before the first hello. */
  user = "";
  /** Names the connection in the server's logs; empty before the first hello. */
  conn = "";

  /** @internal */
  _places: Record<string, string> = {};
  private _link?: Link;
  private _queue: Item[] = [];
  private _working = false;
  private _seen = new Set<string>(); // ids that were dealt with
  private _waiting = new Set<string>(); // ids in the queue
  private _acks: string[] = [];
  private _ackTimer?: ReturnType<typeof setTimeout>;
  private _topics = new Map<string, Topic>();
  private _outbox: Outbox;
  private _room?: Room;
  private _failures = 0; // in a row
  private _refused = 0; // tokens, in a row
  private _hinted?: string; // where to connect to once
  private _stored?: string; // the key that was loaded
  private _wake?: (sooner: boolean) => void;
  private _closing?: Promise<void>;
  private _offs: Off[] = [];

  constructor(private readonly _options: Options) {
    super((error) => {
      const told = this._call("error", error);
      if (!told.length) console.error(error);
      for (const t of told) t.catch(console.error);
    });
    this._outbox = new Outbox((m) => this._speaker()?._ask(m));
    this._attend();
    if (_options.signal?.aborted) void this.close();
    else queueMicrotask(() => this._run()); // listeners are added first
  }

  // ---- what an application calls

  /**
   * Hears what is sent to a topic, from now on and after each loss. With history
   * also what is kept: since the last time, or all. Add listeners to what is
   * returned at once; asking again for the same topic gives the same.
   */
  subscribe(topic: string, { history }: { history?: boolean } = {}): Topic {
    this._check();
    let t = this._topics.get(topic);
    if (!t) {
      t = new Topic(topic, history, this, () => this._leaveTopic(topic), this._report);
      this._topics.set(topic, t);
      const link = this._speaker();
      if (link?._ready) void this._join(t, link);
    }
    return t;
  }

  /**
   * Says something to the members of a topic. Resolves once they have all been
   * told; a loss before that has it sent again, and nobody is shown it twice. Fails
   * with a HomingError: the server's code, "timeout" (it may have been sent) or "full".
   */
  async publish(topic: string, data: unknown, options: { type?: string; timeout?: number } = {}): Promise<Published> {
    this._check();
    return this._outbox._add(publishable(topic, data, options.type), options.timeout ?? 60_000);
  }

  /** Takes a seat in a game room, with the url and ticket that the game's backend or match.found has given. */
  join(seat: { url: string; ticket: string }): Room {
    this._check();
    const room: Room = new Room(seat.url, seat.ticket, (data) => this._say(data), () => this._leaveRoom(room), this._report);
    this._room?._left({ why: "left" });
    this._room = room;
    if (this._link) this._swap(this._link);
    return room;
  }

  /** Asks the server something that is answered, such as match, unmatch and accept. Fails with a HomingError: its code, or "lost". */
  async ask(m: Ask): Promise<ServerMessage> {
    this._check();
    const answer = await this._speaker()?._ask(m);
    if (!answer) throw new HomingError("lost");
    if (answer.t === "error") throw new HomingError(answer.code, answer.reason);
    return answer;
  }

  /** Acknowledges what was dealt with, says goodbye and ends. Resolves when nothing is left running. */
  close(): Promise<void> {
    return (this._closing ??= this._close({ why: "closed" }));
  }

  /** Cuts the connection, as a lost network does; the client comes back. For tests and demonstrations. */
  cut(): void {
    this._link?._drop({ why: "cut" });
  }

  // ---- connecting

  private async _run(): Promise<void> {
    while (!this._closing) {
      this._state({ state: "connecting" });
      const end = await this._connection();
      if (this._closing) return;
      const last = permanent(end) || (end.status === 401 && ++this._refused >= TRIES);
      if (last) return void (this._closing = this._close(end));
      this._failures++;
      this._follow(end);
      await this._pause(end);
    }
  }

  /** One connection's life, with those that take its place. */
  private async _connection(): Promise<End> {
    const sent = this._hinted;
    try {
      let link: Link | undefined = await this._dial(this._address());
      for (let end: End; ; ) {
        this._adopt(link);
        end = await link._gone;
        if (this._room) this._room._in = false;
        if (now() - link._since > STEADY) this._failures = 0;
        const next: Link | undefined = await link._next;
        if (!next || next._over || this._closing) {
          next?._drop();
          return end;
        }
        link = next;
      }
    } catch (end) {
      return sent ? {} : (end as End); // it failed elsewhere: that says nothing of url
    } finally {
      this._link = undefined;
    }
  }

  private _address(): string {
    const { url } = this._options;
    const hinted = this._hinted;
    this._hinted = undefined;
    const room = this._room;
    if (!room) return hinted ?? url;
    // The machine may be gone: where the client came to first knows the way.
    const at = new URL(this._failures > 1 && this._failures % 2 ? url : room._url);
    at.searchParams.set("room", room._ticket);
    return at.href;
  }

  /** Connects, over WebSocket or else an event stream. Fails with an End. */
  private async _dial(url: string, stream = true): Promise<Link> {
    let token = "";
    try {
      const t = this._options.token;
      token = (typeof t === "function" ? await t() : t) ?? "";
      await this._recall(token);
    } catch (error) {
      throw { why: "token" } satisfies End;
    }
    if (this._closing) throw {};
    if (!/^[\w.-]*$/.test(token)) throw { why: "token", status: 401 } satisfies End;
    const make = (this._options.WebSocket ?? (globalThis as { WebSocket?: unknown }).WebSocket) as WebSocketClass | undefined;
    if (!make && !stream) throw {};
    const ws = new Link(this);
    try {
      if (!make) throw { why: "no WebSocket" };
      this._pending = ws;
      ws._transport = webSocket(make, url, token, ws);
      await ws._opened;
      return ws;
    } catch (end) {
      ws._drop();
      const get = this._options.fetch === undefined ? globalThis.fetch : this._options.fetch;
      // A socket that was open has met the server itself: no need to ask why.
      if (!stream || ws._met || !get || this._closing) throw end;
      const events = new Link(this);
      this._pending = events;
      events._transport = eventStream(get, url, token, this._places[""] ?? "", events);
      await events._opened;
      return events;
    }
  }
  private _pending?: Link; // that is being dialed

  /** Takes a connection that has had its hello into service. */
  private _adopt(link: Link): void {
    this._link = link;
    this._refused = 0;
    const { user, conn } = link._hello!;
    this.user = user;
    this.conn = conn;
    this._state({ state: "recovering" });
    link._begin();
    this._sendAcks();
    void this._outbox._flush();
    if (this._room) void this._sit(link, this._room);
    if (!link._transport._speaks) this._upgrade(link, STREAM);
  }

  /** Connects anew, and only then leaves what there is: nothing is missed between. */
  private _swap(link: Link): void {
    if (link._next || link._over) return; // where the room is now is told by who is asked next
    link._next = (async () => {
      try {
        const next = await this._dial(this._address(), false);
        link._leave();
        await link._gone;
        return next;
      } catch {
        link._drop(); // and come back as after any loss
        return undefined;
      }
    })();
  }

  /** Tries to get from an event stream back to a WebSocket. */
  private _upgrade(link: Link, ms: number): void {
    link._later(ms, async () => {
      try {
        const next = await this._dial(this._address(), false);
        if (link._over || link._next) return next._drop();
        link._next = Promise.resolve(next);
        link._later(LEAVE, () => link._drop()); // what is on its way is still read
      } catch {
        this._upgrade(link, Math.min(ms * 2, STREAM * 16));
      }
    });
  }

  /** Sets where the next attempt goes: to the host that the server wished, if it may, once. */
  private _follow({ _hint: hint }: End): void {
    if (!hint?._to) return;
    const { hosts, url } = this._options;
    const to = new URL(url);
    to.host = hint._to;
    if (/[/?#@\\]/.test(hint._to) || (hosts && !hosts.some((h) => h === to.host || h === to.hostname))) this._report(new HomingError("elsewhere", hint._to));
    else this._hinted = to.href;
  }

  /** Waits before the next attempt: for as long as the end asks for, and for a network. */
  private async _pause(end: End): Promise<void> {
    const wait = pause(end, this._failures, this._options.longestWait ?? LONGEST);
    const until = now() + wait;
    this._state({ state: "waiting", ...end, wait });
    for (let ms = wait; !this._closing && (ms > 0 || offline()); ) {
      let timer;
      const sooner = await new Promise<boolean>((wake) => {
        this._wake = wake;
        if (ms > 0) timer = setTimeout(wake, ms, false);
      });
      clearTimeout(timer);
      ms = sooner ? until - now() : 0;
      if (sooner && !told(end)) ms = ms > 0 ? Math.min(ms, grown(1)) : grown(1);
    }
  }

  /** Hears from the system that the network is back, or the page in sight. */
  private _attend(): void {
    const on = (target: unknown, name: string, f: () => void): void => {
      const t = target as EventTarget | undefined;
      if (!t?.addEventListener) return;
      t.addEventListener(name, f);
      this._offs.push(() => t.removeEventListener(name, f));
    };
    const nudge = (): void => {
      this._wake?.(true);
      this._link?._probe();
    };
    on(globalThis, "online", nudge);
    const page = (globalThis as { document?: { hidden: boolean } }).document;
    on(page, "visibilitychange", () => page!.hidden || nudge());
    on(this._options.signal, "abort", () => void this.close());
  }

  private async _close(why: End): Promise<void> {
    await null; // whoever asks again is given the same
    clearTimeout(this._ackTimer);
    this._sendAcks();
    this._queue = [];
    for (const off of this._offs) off();
    if (this._pending !== this._link) this._pending?._drop();
    const link = this._link;
    this._wake?.(false);
    if (link && !link._over) {
      link._leave();
      await link._gone;
      this._sendAcks();
    }
    const error = new HomingError("closed");
    this._outbox._end(error);
    for (const t of this._topics.values()) t._fail(error);
    void this._save();
    const room = this._room;
    this._room = undefined;
    room?._left({ why: "closed" });
    this._state({ state: "closed", ...why });
  }

  private _state(status: Status): void {
    const { _after, _hint, ...open } = status;
    this.status = open;
    this._emit("state", open);
  }

  private _check(): void {
    if (this._closing) throw new HomingError("closed");
  }

  // ---- notifications

  /** @internal */
  _take(n: Notify | undefined, then?: () => void, size = 0): void {
    const seen = n && this._seen.has(n.id);
    const fresh = n && !seen && !this._waiting.has(n.id);
    const all = (n?.topics ?? []).map((t) => this._topics.get(t)?._came(n!, !!fresh));
    if (seen && n.ack) this._ack(n.id);
    if (fresh || !n) all.push(then); // a repeat does not move the place
    if (!fresh && !all.some((f) => f)) return;
    this._size += size;
    if (this._size > QUEUE) {
      this._size -= size;
      return this._link?._drop({ why: "slow" });
    }
    if (fresh) this._waiting.add(n.id);
    this._queue.push({ n: fresh ? n : undefined, then: all, size });
    void this._work();
  }
  private _size = 0;

  private async _work(): Promise<void> {
    if (this._working) return;
    this._working = true;
    for (let item; (item = this._queue.shift()); ) {
      const { n, then, size } = item;
      try {
        if (n) await this._give(n);
        for (const f of then) f?.();
      } catch (error) {
        this._report(error); // it comes again if it is kept
      }
      this._size -= size;
      if (n) this._waiting.delete(n.id);
    }
    this._working = false;
    void this._save();
  }

  private async _give(n: Notify): Promise<void> {
    const topics = (n.topics ?? []).map((t) => this._topics.get(t));
    await Promise.all([...this._call("notify", n), ...topics.flatMap((t) => t?._call("notify", n))]);
    this._remember(n.id);
    if (n.ack) this._ack(n.id);
  }

  private _remember(id: string): void {
    this._seen.add(id);
    if (this._seen.size > SEEN) this._seen.delete(this._seen.values().next().value!);
  }

  private _ack(id: string): void {
    if (this._closing) return;
    this._acks.push(id);
    if (this._acks.length >= ACKS) this._sendAcks();
    else this._ackTimer ??= setTimeout(() => this._sendAcks(), 50);
  }

  /** Where there is no connection they wait; the oldest are let go of, and come again. */
  private _sendAcks(): void {
    clearTimeout(this._ackTimer);
    this._ackTimer = undefined;
    const link = this._speaker();
    while (link && this._acks.length) link._send({ t: "ack", ids: this._acks.splice(0, ACKS) });
    this._acks.splice(0, this._acks.length - ACKS);
  }

  /** @internal */
  _resumed(link: Link, m?: Resumed): void {
    if (m) this._emit("resumed", m);
    link._ready = true;
    if (link._transport._speaks) for (const t of this._topics.values()) if (t._asked !== link) void this._join(t, link);
  }

  /** @internal */
  _caughtUp(link: Link): void {
    if (link === this._link && !link._over && this.status.state === "recovering") this._state({ state: "open" });
  }

  // ---- all else that is said

  /** @internal */
  _message(link: Link, m: ServerMessage): void {
    if (link !== this._link) return;
    const room = this._room;
    switch (m.t) {
      case "friends":
        this.friends.clear();
        for (const f of m.online) this.friends.set(f.user, f.services);
        this._emit("friends", this.friends);
        break;
      case "presence":
        for (const u of m.users ?? [m.user!]) {
          if (m.online) this.friends.set(u, m.services ?? []);
          else this.friends.delete(u);
        }
        this._emit("friends", this.friends);
        break;
      case "subscribed":
        this._topics.get(m.topic)?._subscribed(m);
        break;
      case "unsubscribed":
        if (m.ref !== undefined) break;
        this._topics.get(m.topic)?._fail(new HomingError("unsubscribed"));
        this._topics.delete(m.topic);
        break;
      case "joined":
        room?._joined(m);
        break;
      case "frame":
        return room?._frame(m);
      case "moved":
        return this._moved(link, m);
      case "left":
        if (room && room.info?.room === m.room) this._over(m);
        return;
      case "error":
        if (m.of === "say") room?._emit("refused", { code: m.code, count: m.count ?? 1 });
    }
    this._emit("message", m);
  }

  // ---- topics

  private async _join(t: Topic, link: Link): Promise<void> {
    t._asked = link;
    const m = await link._ask(t._request());
    if (m?.t !== "error") return; // it is subscribed, or the next connection asks
    if (passing(m.code)) return link._later(soon(), () => this._topics.get(t.name) === t && void this._join(t, link));
    this._topics.delete(t.name);
    t._fail(new HomingError(m.code));
  }

  private async _leaveTopic(topic: string): Promise<void> {
    if (this._topics.delete(topic)) await this._link?._ask({ t: "unsubscribe", topic });
  }

  // ---- rooms

  private async _sit(link: Link, room: Room, failures = 1): Promise<void> {
    const m = await link._ask({ t: "join", ticket: room._ticket, ...(room._n && { n: room._n }) });
    if (m?.t !== "error" || room !== this._room) return; // it has moved, or _message has seen to it
    if (m.code === "unavailable") return link._later(grown(failures), () => room === this._room && void this._sit(link, room, failures + 1));
    this._over({ why: m.code, reason: m.reason });
  }

  private _moved(link: Link, { url, ticket }: { url: string; ticket: string }): void {
    const room = this._room;
    if (!room) return;
    room._url = url;
    room._ticket = ticket;
    const wait = Math.min(20 * Math.max(0, ++room._sent - 2), 1000); // the room is on its way
    link._later(wait, () => room === this._room && this._swap(link));
  }

  private _say(data: unknown): boolean {
    const link = this._speaker();
    if (!link) return false;
    if (data instanceof Uint8Array) link._transport._send(data as Uint8Array<ArrayBuffer>);
    else link._send({ t: "say", data });
    return true;
  }

  private async _leaveRoom(room: Room): Promise<void> {
    const m = room._in ? await this._link?._ask({ t: "leave" }) : undefined;
    if (room === this._room && m?.t !== "left") this._over({ why: "left" });
  }

  private _over(m: { why: string; reason?: string }): void {
    const room = this._room;
    this._room = undefined;
    room?._left(m);
  }

  /** @internal */
  _bytes(link: Link, data: ArrayBuffer): void {
    if (link === this._link) this._room?._bytes(new Uint8Array(data));
  }

  // ---- storage

  /** Has the places of the token's user, if another one's are here. */
  private async _recall(token: string): Promise<void> {
    const key = `${this._options.key ?? "homing"}:${userOf(token)}`;
    if (key === this._stored) return;
    this._stored = key;
    this._places = {};
    this._seen.clear();
    try {
      const { places, seen } = JSON.parse((await this._options.storage?.get(key)) || "{}") as { places?: Record<string, string>; seen?: string[] };
      this._places = { ...places };
      for (const id of seen ?? []) this._seen.add(id);
    } catch (error) {
      this._report(error);
    }
  }

  private async _save(): Promise<void> {
    const value = JSON.stringify({ places: this._places, seen: [...this._seen].slice(-100) });
    if (this._stored === undefined || value === this._written) return;
    this._written = value;
    try {
      await this._options.storage?.set(this._stored, value);
    } catch (error) {
      this._report(error);
    }
  }
  private _written = "";

  /** The connection, if the client may speak on it. */
  private _speaker(): Link | undefined {
    const link = this._link;
    return link?._transport._speaks && !link._over ? link : undefined;
  }
}

const offline = (): boolean => (globalThis as { navigator?: { onLine?: boolean } }).navigator?.onLine === false;

/** The user that a token names, for the key of its place. */
function userOf(token: string): string {
  try {
    return String((JSON.parse(atob(token.split(".")[1]!.replace(/-/g, "+").replace(/_/g, "/"))) as { sub: unknown }).sub);
  } catch {
    return "";
  }
}
