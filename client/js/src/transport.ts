import type { End } from "./link.js";

/** What is used of a WebSocket: those of browsers and Node, and that of the package ws, fit. */
export interface WebSocketLike {
  binaryType: string;
  onopen: ((event: never) => unknown) | null;
  onmessage: ((event: never) => unknown) | null;
  onclose: ((event: never) => unknown) | null;
  onerror: ((event: never) => unknown) | null;
  send(data: string | Uint8Array<ArrayBuffer>): void;
  close(code?: number): void;
}
export type WebSocketClass = new (url: string, protocols: string[]) => WebSocketLike;

/** @internal A connection that carries messages. */
export interface Transport {
  _speaks: boolean; // it carries messages of the client's
  _send(data: string | Uint8Array<ArrayBuffer>): void;
  _leave(): void; // in good order: what is on its way is still read
  _drop(): void; // at once
}

/** @internal Who hears of it; what comes after the first end does not count. */
export interface Ear {
  _heard(data: unknown): void;
  _later(ms: number, f: () => void): void;
  _ended(end: End, opened?: boolean): void;
}

/** @internal */
export function webSocket(make: WebSocketClass, url: string, token: string, ear: Ear): Transport {
  const ws = new make(url, token ? ["homing.v1", `bearer.${token}`] : ["homing.v1"]);
  let opened = false;
  ws.binaryType = "arraybuffer";
  ws.onopen = () => (opened = true);
  ws.onmessage = ({ data }: { data: unknown }) => ear._heard(data);
  // 1005 and 1006: there was no code.
  ws.onclose = ({ code, reason }: { code: number; reason: string }) => ear._ended(code && code !== 1005 && code !== 1006 ? { code, reason } : {}, opened);
  // onclose follows, but not where Node's own WebSocket is refused.
  ws.onerror = () => ear._later(100, () => opened || ear._ended({}, opened));
  return {
    _speaks: true,
    _send: (data) => ws.send(data),
    _leave: () => ws.close(1000),
    _drop: () => ((ws as { terminate?(): void }).terminate ? (ws as unknown as { terminate(): void }).terminate() : ws.close()),
  };
}

/** @internal Reads the event stream, or why the server refuses. place: where to go on. */
export function eventStream(get: typeof fetch, url: string, token: string, place: string, ear: Ear): Transport {
  const stop = new AbortController();
  const read = async (): Promise<void> => {
    const at = new URL(url.replace(/^ws/, "http"));
    at.pathname = at.pathname.replace(/ws$/, "events");
    at.searchParams.set("lastEventId", place);
    const { ok, status, headers, body } = await get(at.href, {
      headers: token ? { Authorization: `Bearer ${token}` } : {},
      signal: stop.signal,
      cache: "no-store",
      redirect: "error",
    });
    if (!ok) return ear._ended({ status, _after: retryAfter(headers) });
    if (!body || !/^text\/event-stream/.test(headers.get("Content-Type")!)) return;
    const chunks = body.getReader();
    const text = new TextDecoder();
    for (let rest = ""; ; ) {
      const { done, value } = await chunks.read();
      if (done) return;
      ear._heard(""); // a sign of life
      const lines = (rest + text.decode(value, { stream: true })).split("\n");
      rest = lines.pop()!;
      for (const line of lines) {
        if (!line.startsWith("data:")) continue;
        const { t, code, reason } = JSON.parse(line.slice(5)) as { t: string } & End;
        if (t === "closing") return ear._ended({ code, reason });
        ear._heard(line.slice(5));
      }
    }
  };
  const drop = (): void => stop.abort();
  read().catch(() => {}).then(() => {
    drop();
    ear._ended({});
  });
  return { _speaks: false, _send() {}, _leave: drop, _drop: drop };
}

/** Milliseconds that Retry-After names, seconds or a date by the server's own clock; 0: none. */
function retryAfter(headers: Headers): number {
  const value = headers.get("Retry-After") ?? "";
  if (/^\d+$/.test(value)) return +value * 1000;
  const wait = Date.parse(value) - (Date.parse(headers.get("Date") ?? "") || Date.now());
  return wait > 0 ? wait : 0;
}
