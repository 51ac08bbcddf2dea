import { Emitter } from "./emitter.js";
import type { Ask, Link, Owner } from "./link.js";
import type { Notify, Publish, ServerMessage, Subscribed } from "./wire.js";
import { passing, soon } from "./backoff.js";
import { HomingError } from "./errors.js";

export interface TopicEvents {
  /** What is sent to the topic. The promise that a listener returns is waited for, as that of the client's "notify". */
  notify: Notify;
  /** Each time that the client has become a member. recovered, with history: nothing is missing. */
  subscribed: Subscribed;
  /** It is no member any more: the server's code, "unsubscribed" by a backend, or "closed". */
  ended: HomingError;
}

/** A topic that the client is a member of. */
export class Topic extends Emitter<TopicEvents> {
  /** Resolves when the client is a member first; fails when it may not be. */
  readonly ready: Promise<void>;
  /** @internal Who was asked last. */
  _asked?: Link;
  private _resolve!: () => void;
  private _reject!: (e: HomingError) => void;
  private _left = 0; // of the history that is on its way
  private _live = false;
  private _last?: string;

  /** @internal */
  constructor(
    readonly name: string,
    private _history: boolean | undefined,
    private _owner: Pick<Owner, "_places">,
    private _leave: () => Promise<void>,
    report: (error: unknown) => void,
  ) {
    super(report);
    this.ready = new Promise((resolve, reject) => ([this._resolve, this._reject] = [resolve, reject]));
    this.ready.catch(() => {}); // it is told in "ended", too
  }

  /** Hears no more of it. Resolves when the server knows, or the connection is lost. */
  unsubscribe(): Promise<void> {
    return this._leave();
  }

  /** @internal */
  _request(): Ask {
    this._live = false;
    this._left = 0;
    return { t: "subscribe", topic: this.name, ...(this._history && { after: this._owner._places[this.name] ?? "" }) };
  }

  /** @internal */
  _subscribed(m: Subscribed): void {
    this._left = m.count ?? 0;
    this._last = m.last;
    this._live = !this._left;
    if (this._live) this._stand(m.last);
    this._emit("subscribed", m);
    this._resolve();
  }

  /** @internal A message has come; what is returned is to be called once it was dealt with. */
  _came(n: Notify, fresh: boolean): (() => void) | undefined {
    if (this._left) {
      if (--this._left) return;
      this._live = true;
      return () => this._stand(this._last);
    }
    if (this._live && fresh && n.kept) return () => this._stand(n.id);
  }

  private _stand(place?: string): void {
    if (this._history && place) this._owner._places[this.name] = place;
  }

  /** @internal */
  _fail(e: HomingError): void {
    this._reject(e);
    this._emit("ended", e);
  }
}

/** What the server says of a message that members have been told. */
export interface Published {
  id: string;
}

type Unsent = Omit<Publish, "ref" | "type"> & { type?: string | undefined };

/** @internal */
export function publishable(topic: string, data: unknown, type?: string): Unsent {
  const part = (): string => Math.random().toString(36).slice(2);
  return { t: "publish", topic, type, data, id: part() + part() };
}

interface Entry {
  m: Unsent;
  done(answer?: Published, error?: HomingError): void;
}

const MOST = 100; // messages that wait

/** @internal What is to be published: one at a time, so that it stays in order whatever is lost. */
export class Outbox {
  private _all: Entry[] = [];
  private _busy = false;
  private _timer?: ReturnType<typeof setTimeout>;

  constructor(private _ask: (m: Ask) => Promise<ServerMessage | undefined> | undefined) {}

  _add(m: Unsent, ms: number): Promise<Published> {
    return new Promise((resolve, reject) => {
      if (this._all.length >= MOST) return reject(new HomingError("full"));
      const timer = setTimeout(() => entry.done(undefined, new HomingError("timeout")), ms);
      const entry: Entry = {
        m,
        done: (answer, error) => {
          clearTimeout(timer);
          const i = this._all.indexOf(entry);
          if (i >= 0) this._all.splice(i, 1);
          answer ? resolve(answer) : reject(error);
        },
      };
      this._all.push(entry);
      this._flush();
    });
  }

  /** Sends what waits, as far as there is a connection. */
  async _flush(): Promise<void> {
    if (this._busy) return;
    clearTimeout(this._timer);
    for (let entry; (entry = this._all[0]); ) {
      const asked = this._ask(entry.m);
      if (!asked) return;
      this._busy = true;
      const m = await asked;
      this._busy = false;
      if (!m) continue; // lost: it is sent again, now or by the next connection
      if (m.t === "published") entry.done({ id: m.id });
      else if (m.t === "error" && passing(m.code)) {
        this._timer = setTimeout(() => this._flush(), soon());
        return;
      } else entry.done(undefined, new HomingError((m as { code: string }).code));
    }
  }

  _end(error: HomingError): void {
    clearTimeout(this._timer);
    for (const entry of [...this._all]) entry.done(undefined, error);
  }
}
