import { Emitter } from "./emitter.js";
import type { Frame, Joined, Left } from "./wire.js";

/** What a room tells, of one tick: events each once, also over reconnects and moves. Data of binary rooms is Uint8Arrays. */
export type RoomFrame = Frame & Required<Pick<Frame, "events">>;

export interface RoomEvents {
  /** The seat is taken, also after a loss or a move. */
  joined: Joined;
  frame: RoomFrame;
  /** The room is over for this player. why: as the server says it, or the code of a join that is refused for good. */
  left: { why: string; reason?: string };
  /** Messages to the room that were not taken. */
  refused: { code: string; count: number };
}

/** A seat in a game room. The client comes back to it until "left". */
export class Room extends Emitter<RoomEvents> {
  /** What the room has said of itself; undefined until the seat is taken first. */
  info?: Joined;
  /** All that the player may see, by key, as of the last frame. */
  state: Record<string, unknown> = {};
  /** Whether it is over. */
  over = false;

  /** @internal */
  _sent = 0; // on, since it was joined
  /** @internal */
  _n = 0; // of the last event
  /** @internal */
  _in = false; // joined, on the present connection

  /** @internal */
  constructor(
    public _url: string,
    public _ticket: string,
    private _speak: (data: unknown) => boolean,
    private _go: () => Promise<void>,
    report: (error: unknown) => void,
  ) {
    super(report);
  }

  /** Says something to the room: JSON, or bytes. False: it is not connected now, and nothing was sent. */
  say(data: unknown): boolean {
    return this._in && this._speak(data);
  }

  /** Gives the seat up, and resolves when the room is left. */
  leave(): Promise<void> {
    return this.over ? Promise.resolve() : this._go();
  }

  /** @internal */
  _joined(m: Joined): void {
    this._ticket = m.ticket;
    this.info = m;
    this._in = true;
    this._sent = 0;
    this._emit("joined", m);
  }

  /** @internal */
  _left(m: Pick<Left, "reason"> & { why: string }): void {
    this.over = true;
    this._in = false;
    this._emit("left", { why: m.why, reason: m.reason });
  }

  /** @internal */
  _frame(m: Frame): void {
    const events = (m.events ?? []).filter((e) => e.n > this._n);
    for (const e of events) this._n = e.n;
    if (m.recovered !== undefined) this.state = {};
    for (const key in m.state) {
      if (m.state[key] === null) delete this.state[key];
      else this.state[key] = m.state[key];
    }
    this._emit("frame", { ...m, events });
  }

  /** @internal A frame of a binary room: docs/protocol.md, "Binary rooms". */
  _bytes(b: Uint8Array): void {
    let at = 0;
    const number = (): number => {
      let n = 0;
      for (let unit = 1; ; unit *= 128) {
        const byte = b[at++]!;
        n += (byte & 127) * unit;
        if (byte < 128) return n;
      }
    };
    const bytes = (n = number()): Uint8Array => b.subarray(at, (at += n));
    const text = (): string => new TextDecoder().decode(bytes());
    const events: RoomFrame["events"] = [];
    const state: RoomFrame["state"] = {};
    const m: Frame = { t: "frame", tick: number(), recovered: [false, true][b[at++]!], events, state };
    for (let k = number(); k > 0; k--) events.push({ n: number(), from: text() || undefined, data: bytes() });
    for (let k = number(); k > 0; k--) {
      const key = text();
      state[key] = b[at++] ? bytes() : bytes() && null;
    }
    this._frame(m);
  }
}
