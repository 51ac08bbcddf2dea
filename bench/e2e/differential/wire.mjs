// Plays bytes to a server of Engine.IO and writes down what it answers, so that the
// answers of two servers can be compared. What differs by nature (session ids) is
// replaced.
import { createHash } from "node:crypto";
import { connect } from "node:net";

const WAIT = 15_000; // ms: longer than anything that a script waits for

// These are the headers that clients and browsers act on. Whether an error may be
// cached and what an empty body would be is not compared, and what pages may do only
// where a page asks.
const CORS = ["access-control-allow-origin", "access-control-allow-credentials", "vary"];

const normal = (text) => text.replace(/"(sid|pid)":"[^"]+"/g, '"$1":"*"');

// unchunk joins the chunks that begin at from; undefined: more is needed.
function unchunk(b, from) {
  const parts = [];
  for (;;) {
    const line = b.indexOf("\r\n", from);
    if (line < 0) return undefined;
    const size = parseInt(b.subarray(from, line).toString(), 16);
    const end = line + 2 + size + 2;
    if (b.length < end) return undefined;
    if (size === 0) return { body: Buffer.concat(parts), end };
    parts.push(b.subarray(line + 2, line + 2 + size));
    from = end;
  }
}

// Wire is one TCP connection.
class Wire {
  #got = Buffer.alloc(0);
  #over = false;
  #frames = []; // that have been read already
  #wake = () => {};

  constructor(port) {
    this.socket = connect(port, "127.0.0.1");
    this.socket.on("data", (b) => { this.#got = Buffer.concat([this.#got, b]); this.#wake(); });
    for (const end of ["end", "error", "close"]) this.socket.on(end, () => { this.#over = true; this.#wake(); });
  }

  send(bytes) { if (!this.socket.destroyed) this.socket.write(bytes); }

  // until waits for what take makes of the bytes so far, from their first; undefined:
  // more is needed. It resolves to null when the connection has ended before.
  async until(take) {
    const deadline = Date.now() + WAIT;
    for (;;) {
      const found = take(this.#got, this.#over);
      if (found) {
        this.#got = this.#got.subarray(found.length);
        return found.value;
      }
      if (this.#over) return null;
      const left = deadline - Date.now();
      if (left <= 0) throw new Error(`nothing came for ${WAIT} ms after ${JSON.stringify(this.#got.toString())}`);
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#wake = () => { clearTimeout(timer); resolve(); };
      });
    }
  }

  // response reads an HTTP response: {status, headers, body}; null: there was none.
  response() {
    return this.until((b, over) => {
      const end = b.indexOf("\r\n\r\n");
      if (end < 0) return undefined;
      const [first, ...lines] = b.subarray(0, end).toString("latin1").split("\r\n");
      const headers = Object.fromEntries(lines.map((l) => [l.slice(0, l.indexOf(":")).toLowerCase(), l.slice(l.indexOf(":") + 1).trim()]));
      const status = Number(first.split(" ")[1]);
      const from = end + 4;
      if (headers["transfer-encoding"] === "chunked" && !this.head) {
        const all = unchunk(b, from);
        return all && { length: all.end, value: { status, headers, body: all.body } };
      }
      const size = status === 101 || status === 204 || this.head ? 0 : Number(headers["content-length"] ?? (over ? b.length - from : NaN));
      if (Number.isNaN(size) || b.length < from + size) return undefined;
      return { length: from + size, value: { status, headers, body: b.subarray(from, from + size) } };
    });
  }

  // frame reads one WebSocket frame: {op, fin, data}.
  async frame() { return this.#frames.shift() ?? this.#frame(); }

  // settle waits until the server has dealt with all frames so far.
  async settle() {
    if (this.#frames.some((f) => f.op === 8)) return;
    this.send(frameOf(0x89, "settled"));
    for (let f = await this.#frame(); f !== null; f = await this.#frame()) {
      if (f.op === 10) return;
      this.#frames.push(f);
      if (f.op === 8) return;
    }
  }

  #frame() {
    return this.until((b) => {
      if (b.length < 2) return undefined;
      let size = b[1] & 0x7f, from = 2;
      if (size === 126) { if (b.length < 4) return undefined; size = b.readUInt16BE(2); from = 4; }
      if (size === 127) { if (b.length < 10) return undefined; size = Number(b.readBigUInt64BE(2)); from = 10; }
      if (b.length < from + size) return undefined;
      return { length: from + size, value: { op: b[0] & 0x0f, fin: (b[0] & 0x80) !== 0, data: b.subarray(from, from + size) } };
    });
  }
}

// frameOf is a frame as a client sends it. first is its first byte.
export function frameOf(first, data, { masked = true } = {}) {
  const payload = Buffer.from(data);
  const head = [first];
  const bit = masked ? 0x80 : 0;
  if (payload.length < 126) head.push(bit | payload.length);
  else if (payload.length < 65536) head.push(bit | 126, payload.length >> 8, payload.length & 255);
  else head.push(bit | 127, 0, 0, 0, 0, ...[24, 16, 8, 0].map((s) => (payload.length >>> s) & 255));
  if (!masked) return Buffer.concat([Buffer.from(head), payload]);
  const key = [1, 2, 3, 4];
  return Buffer.concat([Buffer.from([...head, ...key]), payload.map((byte, i) => byte ^ key[i % 4])]);
}

const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT = createHash("sha1").update(`${KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");

// Play is one script played to one server. lines are what it has answered.
export class Play {
  lines = [];
  #wires = [];

  constructor(port, path) {
    this.port = port;
    this.path = path;
  }

  note(line) { this.lines.push(line); }

  wire() {
    const wire = new Wire(this.port);
    this.#wires.push(wire);
    return wire;
  }

  end() { for (const wire of this.#wires) wire.socket.destroy(); }

  // request sends one and returns its connection.
  request(method, query, { headers = {}, body, path = this.path, wire = this.wire() } = {}) {
    const lines = [`${method} ${path}${query ? `?${query}` : ""} HTTP/1.1`, "Host: front.example.com"];
    for (const [name, value] of Object.entries(headers)) lines.push(`${name}: ${value}`);
    if (body !== undefined && !headers["Transfer-Encoding"]) lines.push(`Content-Length: ${Buffer.byteLength(body)}`);
    wire.head = method === "HEAD";
    wire.page = headers.Origin !== undefined;
    wire.send(Buffer.concat([Buffer.from(`${lines.join("\r\n")}\r\n\r\n`), Buffer.from(body ?? "")]));
    return wire;
  }

  // answer notes the response that comes on wire, and returns its body.
  async answer(wire) {
    const r = await wire.response();
    if (r === null) {
      this.note("no answer");
      return "";
    }
    const shown = [r.body.length > 0 && r.headers["content-type"]?.toLowerCase(), r.status === 200 && r.headers["cache-control"],
      ...CORS.map((h) => wire.page && `${h.replace("access-control-", "")}=${r.headers[h]}`)].filter(Boolean);
    const text = r.body.toString();
    const printable = [...r.body].every((c) => c >= 0x20 || c === 0x1e) ? normal(text).replaceAll("\x1e", "␞") : r.body.toString("hex");
    this.note([r.status, ...shown, printable.slice(0, 160)].join(" ").trim());
    return text;
  }

  async ask(method, query, options) { return this.answer(this.request(method, query, options)); }

  // open begins a session that is polled, and returns its query. Of the handshake only
  // handshake's cases note anything.
  async open() {
    const wire = this.request("GET", "EIO=4&transport=polling");
    const { body } = await wire.response();
    return `EIO=4&transport=polling&sid=${JSON.parse(body.toString().slice(1)).sid}`;
  }

  // say posts a payload to a session, poll gets one; both note the answer.
  async say(session, body, headers) { return this.ask("POST", session, { body, headers: { "Content-Type": "text/plain;charset=UTF-8", ...headers } }); }
  async poll(session) { return this.ask("GET", session); }

  // peek is the status of the answer, which is not noted; 0: there is none.
  async peek(method, session, body) {
    const r = await this.request(method, session, { body, headers: { "Content-Type": "text/plain" } }).response();
    return r?.status ?? 0;
  }

  // webSocket asks for one. quiet: a success is not noted.
  async webSocket(query = "EIO=4&transport=websocket", { headers = {}, quiet = true, path } = {}) {
    const wire = this.request("GET", query, { path, headers: {
      Connection: "Upgrade", Upgrade: "websocket", "Sec-WebSocket-Version": 13, "Sec-WebSocket-Key": KEY, ...headers,
    } });
    const r = await wire.response();
    if (r === null) this.note("no answer");
    else if (r.status !== 101) this.note([r.status, r.headers["content-type"]?.toLowerCase(), r.body.toString().slice(0, 160)].join(" "));
    else if (r.headers["sec-websocket-accept"] !== ACCEPT) this.note("101 with a wrong accept");
    else if (!quiet) this.note(["101", r.headers["sec-websocket-protocol"], r.headers["sec-websocket-extensions"]].filter(Boolean).join(" "));
    return wire;
  }

  // socket begins a session over WebSocket and passes over its handshake.
  async socket() {
    const wire = await this.webSocket();
    await wire.frame();
    return wire;
  }

  // hear notes so many frames.
  async hear(wire, n = 1) {
    for (; n > 0; n--) {
      const f = await wire.frame();
      if (f === null) this.note("end");
      else if (f.op === 1) this.note(`text ${normal(f.data.toString()).slice(0, 160)}`);
      else if (f.op === 2) this.note(`binary ${f.data.toString("hex").slice(0, 160)}`);
      else if (f.op === 8) this.note(`close ${f.data.length >= 2 ? f.data.readUInt16BE(0) : ""}`.trim());
      else this.note(`frame ${f.op} ${f.data.toString("hex")}`);
      if (f === null || f.op === 8) return;
    }
  }

  text(wire, ...all) { for (const data of all) wire.send(frameOf(0x81, data)); }
  binary(wire, ...all) { for (const data of all) wire.send(frameOf(0x82, data)); }
}
