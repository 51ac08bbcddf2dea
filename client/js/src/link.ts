import { now, passing, soon } from "./backoff.js";
import type { Ear, Transport } from "./transport.js";
import type { ClientMessage, Hello, Notify, Resumed, ServerMessage } from "./wire.js";

/** Why a connection, or an attempt to connect, has ended. */
export interface End {
  /** The server's close code, if it closed in form. */
  code?: number;
  reason?: string;
  /** The HTTP status of a refusal. */
  status?: number;
  /** In words, where there is neither. */
  why?: string;
  /** @internal ms that the server asks to wait. */
  _after?: number;
  /** @internal */
  _hint?: Hint;
}

/** @internal A server's wish that the client leave and come back. */
export interface Hint {
  _at: number; // when, by now()
  _after: number; // ms
  _to?: string;
}

type Phase = "asking" | "replay" | "behind" | "live";
/** A message by which a client asks something. */
export type Ask = ClientMessage extends infer M ? (M extends { ref?: unknown } ? Omit<M, "ref"> : never) : never;

/** @internal What a connection tells its client. */
export interface Owner {
  /** Where the client stands: in topics by their names, in the inbox under "". */
  _places: Record<string, string>;
  /** A notification to deal with; then is called once that has worked. */
  _take(n: Notify | undefined, then?: () => void, size?: number): void;
  /** Nothing more of what was missed is on its way. */
  _caughtUp(link: Link): void;
  /** The server has answered resume, or cannot: topics may be asked for. */
  _resumed(link: Link, m?: Resumed): void;
  _message(link: Link, m: ServerMessage): void;
  _bytes(link: Link, data: ArrayBuffer): void;
  readonly _report: (error: unknown) => void;
}

const HELLO = 10_000; // ms until hello
const GRACE = 15_000; // ms of silence beyond ping
const LEAVE = 1000; // ms until the server has said goodbye
const ASIDE = 8 << 20; // characters that may come before the answer to resume, 100 more for each message

/** @internal One connection: hello, what was missed, signs of life, its end. */
export class Link implements Ear {
  _hello?: Hello;
  _hint?: Hint;
  _since = 0;
  _over = false;
  _transport!: Transport;
  /** The connection that takes this one's place. */
  _next?: Promise<Link | undefined>;
  readonly _opened: Promise<Hello>;
  readonly _gone: Promise<End>;
  _met = false; // the socket was open: whoever ends it is no proxy
  _ready = false; // resume is answered, or not asked

  private _open!: (h: Hello) => void;
  private _fail!: (e: End) => void;
  private _end!: (e: End) => void;
  private _timer?: ReturnType<typeof setTimeout>;
  private _timers: Array<ReturnType<typeof setTimeout>> = [];
  private _heardAt = now();
  private _phase: Phase = "live";
  private _left = 0;
  private _last = "";
  private _aside: Array<[Notify, number]> = [];
  private _asideSize = 0; // characters, and 100 for each
  private _early?: unknown[] = []; // what comes before the client has taken this connection over
  private _asks = new Map<number, (m?: ServerMessage) => void>();
  private _ref = 0;

  constructor(private _owner: Owner) {
    this._opened = new Promise((open, fail) => ([this._open, this._fail] = [open, fail]));
    this._gone = new Promise((end) => (this._end = end));
    this._opened.catch(() => {}); // whoever dials hears of it
    this._timer = setTimeout(() => this._drop({ why: "no hello" }), HELLO);
  }

  /** Takes part from now on: what came meanwhile is dealt with. */
  _begin(): void {
    if (this._hello!.resume === true) {
      this._phase = "asking"; // an event stream has been asked with its request
      if (this._transport._speaks) this._resume();
    } else {
      this._owner._resumed(this);
      this._owner._caughtUp(this);
    }
    const early = this._early!;
    this._early = undefined;
    for (const m of early) this._deal(m);
  }

  _send(m: ClientMessage): void {
    if (!this._over) this._transport._send(JSON.stringify(m));
  }

  /** Resolves to the answer, or to nothing when the connection ends before it. */
  _ask(m: Ask): Promise<ServerMessage | undefined> {
    return new Promise((answer) => {
      if (this._over) return answer(undefined);
      this._asks.set(++this._ref, answer);
      this._send({ ...m, ref: this._ref } as ClientMessage);
    });
  }

  /** Says goodbye; what is on its way is still read. */
  _leave(): void {
    clearTimeout(this._timer);
    this._timer = setTimeout(() => this._drop(), LEAVE);
    this._transport._leave();
  }

  _drop(e: End = {}): void {
    this._ended(e);
    this._transport?._drop();
  }

  /** Has the server show within 5 s that it is there. */
  _probe(): void {
    if (this._hello && this._transport._speaks) this._watch(0, 5000);
  }

  /** Calls f after ms, unless the connection has ended. */
  _later(ms: number, f: () => void): void {
    if (!this._over) this._timers.push(setTimeout(f, ms));
  }

  // ---- from the transport

  _heard(data: unknown): void {
    this._heardAt = now();
    if (this._over || data === "") return;
    if (this._early && this._hello) this._early.push(data);
    else this._deal(data);
  }

  _ended(e: End, opened = true): void {
    if (this._over) return;
    this._over = true;
    this._met = opened;
    clearTimeout(this._timer);
    this._timers.forEach(clearTimeout);
    const end: End = { why: "lost", ...e, _hint: this._hint };
    this._fail(end);
    this._end(end);
    for (const answer of this._asks.values()) answer();
  }

  // ---- messages

  /** A message whose fields hold what they cannot is told of, and passed by. */
  private _deal(data: unknown): void {
    try {
      this._message(data);
    } catch (error) {
      this._owner._report(error);
    }
  }

  private _message(data: unknown): void {
    if (typeof data !== "string") return this._owner._bytes(this, data as ArrayBuffer);
    let m: ServerMessage;
    try {
      m = JSON.parse(data);
    } catch {
      return this._drop({ code: 1002 });
    }
    if (!this._hello) {
      if (m.t !== "hello") return this._drop({ code: 1002 });
      this._hello = m;
      this._since = now();
      this._watch(m.ping, GRACE);
      return this._open(m);
    }
    const { ref } = m as { ref?: number };
    const answer = this._asks.get(ref!);
    switch (m.t) {
      case "notify":
        return this._notify(m, data.length + 100);
      case "resumed":
        return this._replay(m);
      case "reconnect":
        return this._wish(m);
      case "error":
        if (m.of === "resume") return this._refused(m.code);
    }
    this._owner._message(this, m);
    if (answer) {
      this._asks.delete(ref!);
      answer(m);
    }
  }

  private _wish({ after_ms: after, to }: { after_ms: number; to?: string }): void {
    this._hint = { _at: now() + (after > 0 ? after : 0), _after: after > 0 ? after : 0, _to: to };
  }

  // ---- what was missed

  private _resume(): void {
    this._retrying = false;
    this._send({ t: "resume", after: this._owner._places[""] ?? "" });
  }

  private _notify(n: Notify, size: number): void {
    if (this._phase === "asking") {
      this._aside.push([n, size]);
      if ((this._asideSize += size) > ASIDE) this._drop({ why: "no answer" });
      return;
    }
    this._give(n, size);
    if (this._phase === "replay" && !--this._left) this._caughtUp();
  }

  private _give(n: Notify, size: number): void {
    const moves = this._phase === "live" && n.stored;
    this._owner._take(n, moves ? () => this._stand(n.id) : undefined, size);
  }

  private _replay(m: Resumed): void {
    if (this._phase !== "asking" && this._phase !== "behind") return;
    this._phase = "replay";
    this._left = m.count;
    this._last = m.last;
    this._owner._resumed(this, m);
    if (!(m.count > 0)) this._caughtUp();
  }

  private _caughtUp(): void {
    this._phase = "live";
    const last = this._last;
    this._owner._take(undefined, () => {
      this._stand(last);
      this._owner._caughtUp(this);
    });
    this._release();
  }

  private _stand(place: string): void {
    this._owner._places[""] = place;
  }

  private _release(): void {
    for (const [n, size] of this._aside.splice(0)) this._give(n, size);
    this._asideSize = 0;
  }

  private _retrying = false;

  /** The place stays, and messages pass. */
  private _refused(code: string): void {
    if (this._phase !== "asking" && this._phase !== "behind") return;
    const again = this._phase === "behind" || passing(code);
    if (this._phase === "asking") {
      this._phase = "behind";
      this._owner._resumed(this);
    }
    this._release();
    if (again && !this._retrying) {
      this._retrying = true;
      this._later(soon(), () => this._resume());
    }
  }

  // ---- signs of life

  /**
   * After quiet ms of silence a ping is sent, and after grace ms more of it the
   * connection is lost. A timer that comes late has stood still itself, and what
   * the server has said meanwhile may not have been read yet: it starts over.
   */
  private _watch(quiet: number, grace: number): void {
    clearTimeout(this._timer);
    if (!(this._hello!.ping > 0)) return; // the server gives none
    const look = (ms: number, then: () => void): void => {
      const from = now();
      this._timer = setTimeout(() => {
        const silent = now() - this._heardAt;
        if (now() - from > ms + 5000) this._watch(0, GRACE);
        else if (this._heardAt > from) this._watch(Math.max(0, this._hello!.ping - silent), GRACE);
        else then();
      }, ms);
    };
    look(quiet, () => {
      if (this._transport._speaks) this._send({ t: "ping" });
      look(grace, () => this._drop({ why: "silence" }));
    });
  }
}
