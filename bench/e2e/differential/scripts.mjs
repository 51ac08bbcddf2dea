// The scripts that are played to both servers. Each notes what it is answered. A
// script never waits for nothing to happen: it says something that is answered.
import { frameOf } from "./wire.mjs";

const ENGINE = "/engine.io/";
const SOCKET = "/socket.io/";
const OPEN = "EIO=4&transport=polling";
const UNKNOWN = "AAAAAAAAAAAAAAAAAAAA";

// scripts are [name, path, times, play]; times names the pair of servers.
export const scripts = [];
const engine = (name, play, times = "slow") => scripts.push({ name: `engine: ${name}`, path: ENGINE, times, play });
const socketio = (name, play, times = "slow") => scripts.push({ name: `socket: ${name}`, path: SOCKET, times, play });

// ---- handshakes
engine("open", (p) => p.ask("GET", OPEN));
engine("open, of a page", (p) => p.ask("GET", OPEN, { headers: { Origin: "https://game.example.com" } }));
engine("open, with t=", (p) => p.ask("GET", `${OPEN}&t=abc`));
engine("open below the path", (p) => p.ask("GET", OPEN, { path: "/engine.io/deeper/" }));
engine("open without the slash", (p) => p.ask("GET", OPEN, { path: "/engine.io" }));
for (const version of ["", "EIO=3&", "EIO=5&", "EIO=abc&", "EIO=&"]) engine(`open with ${version || "no EIO"}`, (p) => p.ask("GET", `${version}transport=polling`));
for (const transport of ["", "transport=", "transport=abc", "transport=Polling", "transport=webtransport", "transport=constructor"]) {
  engine(`open with ${transport || "no transport"}`, (p) => p.ask("GET", `EIO=4&${transport}`));
}
engine("open with two transports", (p) => p.ask("GET", "EIO=4&transport=websocket&transport=polling"));
engine("open with an empty sid", (p) => p.ask("GET", `${OPEN}&sid=`));
engine("open without a query", (p) => p.ask("GET", ""));
for (const method of ["POST", "PUT", "DELETE", "PATCH", "HEAD"]) engine(`open with ${method}`, (p) => p.ask(method, OPEN, { body: method === "HEAD" ? undefined : "" }));
engine("preflight", (p) => p.ask("OPTIONS", OPEN, { headers: { Origin: "https://game.example.com", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type" } }));
engine("options of no page", (p) => p.ask("OPTIONS", OPEN));
engine("a page reads why it is refused", (p) => p.ask("GET", "EIO=4", { headers: { Origin: "https://game.example.com" } }));
for (const method of ["GET", "POST"]) engine(`unknown sid, ${method}`, (p) => p.ask(method, `${OPEN}&sid=${UNKNOWN}`, { body: method === "POST" ? "4a" : undefined }));
engine("sid of another form", (p) => p.ask("GET", `${OPEN}&sid=__proto__`));
engine("a HTTP request for websocket", (p) => p.ask("GET", "EIO=4&transport=websocket"));
engine("a POST for websocket", (p) => p.ask("POST", "EIO=4&transport=websocket", { body: "" }));

// ---- polling
const exchange = async (p, body) => {
  const session = await p.open();
  await p.say(session, body);
  await p.poll(session);
};
engine("echo", (p) => exchange(p, "4hello"));
engine("echo of nothing", (p) => exchange(p, "4"));
engine("echo of several", (p) => exchange(p, "4a\x1e4b\x1e4c"));
engine("echo of binary", (p) => exchange(p, "4a\x1ebAQIDBA=="));
engine("echo of text that is not ASCII", (p) => exchange(p, "4€ 😀"));
engine("echo of base64 without padding", (p) => exchange(p, "bAQIDBA"));
engine("echo, chunked", async (p) => {
  const session = await p.open();
  await p.ask("POST", session, { headers: { "Transfer-Encoding": "chunked", "Content-Type": "text/plain" }, body: "6\r\n4hello\r\n0\r\n\r\n" });
  await p.poll(session);
});
engine("echo of a payload without a type", async (p) => {
  const session = await p.open();
  await p.say(session, "4hello", { "Content-Type": "application/x-www-form-urlencoded" });
  await p.poll(session);
});
for (const [what, body] of [
  ["no type", "abc"], ["nothing", ""], ["an empty one behind", "4a\x1e"], ["type 7", "7"], ["bad base64", "b*"],
  ["open", "0"], ["ping", "2"], ["pong", "3"], ["upgrade", "5"], ["noop", "6"], ["type 4 and then none", "4a\x1eabc"], ["pong with data", "3probe"],
]) {
  engine(`payload of ${what}`, async (p) => {
    const session = await p.open();
    await p.say(session, body);
    await p.say(session, "4after");
    await p.poll(session);
  });
}
engine("payload of octets", async (p) => {
  const session = await p.open();
  await p.say(session, Buffer.from([4, 1, 2]), { "Content-Type": "application/octet-stream" });
  await p.poll(session);
});
engine("payload of the largest size", async (p) => {
  const session = await p.open();
  await p.say(session, `4${"a".repeat(999_999)}`);
  await p.poll(session);
});
engine("payload that is too large", async (p) => {
  const session = await p.open();
  await p.say(session, `4${"a".repeat(1_000_000)}`);
});
engine("payload that is too large, chunked", async (p) => {
  const session = await p.open();
  const size = 1_000_001;
  await p.ask("POST", session, { headers: { "Transfer-Encoding": "chunked" }, body: `${size.toString(16)}\r\n${"4".repeat(size)}\r\n0\r\n\r\n` });
});
engine("two polls at once", async (p) => {
  const session = await p.open();
  const first = p.request("GET", session);
  await p.say(session, "3"); // so that the first has arrived
  await p.poll(session);
  await p.answer(first);
  await p.poll(session);
});
engine("two posts at once", async (p) => {
  const session = await p.open();
  const first = p.request("POST", session, { headers: { "Content-Length": 6 } });
  first.send("4he");
  const poll = p.request("GET", session);
  await until(p, async () => (await p.peek("POST", session, "4x")) !== 200);
  await p.answer(poll);
  await p.say(session, "4after");
});
engine("a poll that is given up", async (p) => {
  const session = await p.open();
  const poll = p.request("GET", session);
  await p.say(session, "3");
  poll.socket.destroy();
  await until(p, async () => (await p.peek("POST", session, "3")) !== 200);
  await p.say(session, "4after");
});
engine("a post that is given up", async (p) => {
  const session = await p.open();
  const post = p.request("POST", session, { headers: { "Content-Length": 6 } });
  post.send("4he");
  await sleep(100);
  post.socket.destroy();
  await until(p, async () => (await p.peek("POST", session, "3")) !== 200);
  await p.say(session, "4after");
});
engine("close", async (p) => {
  const session = await p.open();
  const poll = p.request("GET", session);
  await p.say(session, "3");
  await p.say(session, "1");
  await p.answer(poll);
  await p.poll(session);
});
engine("close while nobody polls", async (p) => {
  const session = await p.open();
  await p.say(session, "1");
  await p.poll(session);
});
for (const method of ["PUT", "DELETE", "HEAD"]) {
  engine(`${method} of a session`, async (p) => {
    const session = await p.open();
    await p.ask(method, session);
    await p.say(session, "4after");
    await p.poll(session);
  });
}
engine("another transport than the session's", async (p) => {
  const session = await p.open();
  await p.ask("GET", session.replace("polling", "websocket"));
  await p.say(session, "4after");
  await p.poll(session);
});
engine("two sessions over one connection", async (p) => {
  const [a, b] = [await p.open(), await p.open()];
  const wire = p.wire();
  for (const [session, text] of [[a, "4a"], [b, "4b"]]) await p.ask("POST", session, { wire, body: text, headers: { "Content-Type": "text/plain" } });
  for (const session of [b, a]) await p.ask("GET", session, { wire });
});
engine("two requests sent together", async (p) => {
  const session = await p.open();
  const wire = p.request("POST", session, { body: "4a" });
  p.request("GET", session, { wire });
  await p.answer(wire);
  await p.answer(wire);
});
engine("an answer for a page", async (p) => {
  const session = await p.open();
  await p.ask("POST", session, { body: "4a", headers: { Origin: "https://game.example.com" } });
  await p.ask("GET", session, { headers: { Origin: "https://game.example.com" } });
});

// ---- WebSocket
engine("WebSocket: open", async (p) => p.hear(await p.webSocket(undefined, { quiet: false })));
engine("WebSocket: open, with a subprotocol", async (p) => p.webSocket(undefined, { quiet: false, headers: { "Sec-WebSocket-Protocol": "chat" } }));
engine("WebSocket: open, with an extension", async (p) => p.webSocket(undefined, { quiet: false, headers: { "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits" } }));
for (const query of ["transport=websocket", "EIO=3&transport=websocket", "EIO=4", "EIO=4&transport=abc", OPEN, `EIO=4&transport=websocket&sid=${UNKNOWN}`]) {
  engine(`WebSocket: open with ${query.replace(UNKNOWN, "an unknown sid")}`, async (p) => {
    const wire = await p.webSocket(query, { quiet: false });
    if (p.lines.at(-1) === "101") await p.hear(wire, 1);
  });
}
engine("WebSocket: version 12", (p) => p.webSocket(undefined, { headers: { "Sec-WebSocket-Version": 12 } }));
engine("WebSocket: a key of another length", (p) => p.webSocket(undefined, { headers: { "Sec-WebSocket-Key": "YWJj" } }));
const said = (name, play) => engine(`WebSocket: ${name}`, async (p) => play(p, await p.socket()));
said("echo", async (p, ws) => { p.text(ws, "4hello", "4", "4€ 😀"); await p.hear(ws, 3); });
said("echo of binary", async (p, ws) => { p.binary(ws, [1, 2, 3, 4], []); await p.hear(ws, 2); });
said("binary in base64", async (p, ws) => { p.text(ws, "bAQIDBA==", "4after"); await p.hear(ws, 2); });
engine("WebSocket: binary for a client that wants base64", async (p) => {
  const ws = await p.webSocket("EIO=4&transport=websocket&b64=1");
  p.binary(ws, [1, 2, 3]);
  await p.hear(ws, 2);
});
said("a fragmented message", async (p, ws) => { ws.send(Buffer.concat([frameOf(0x01, "4he"), frameOf(0x89, "x"), frameOf(0x80, "llo")])); await p.hear(ws, 2); });
said("a WebSocket ping", async (p, ws) => { ws.send(frameOf(0x89, "abc")); await p.hear(ws); });
for (const data of ["", "abc", "7", "0", "1", "2", "2probe", "3", "3probe", "5", "6"]) {
  said(`packet ${JSON.stringify(data)}`, async (p, ws) => { p.text(ws, data, "4after"); await p.hear(ws); });
}
said("a message of the largest size", async (p, ws) => { p.text(ws, `4${"a".repeat(999_999)}`); await p.hear(ws); });
said("a message that is too large", async (p, ws) => { p.text(ws, `4${"a".repeat(1_000_000)}`); await p.hear(ws); });
said("a frame without a mask", async (p, ws) => { ws.send(frameOf(0x81, "4a", { masked: false })); await p.hear(ws); });
said("a reserved bit", async (p, ws) => { ws.send(frameOf(0xc1, "4a")); await p.hear(ws); });
said("an unknown opcode", async (p, ws) => { ws.send(frameOf(0x83, "4a")); await p.hear(ws); });
said("text that is not UTF-8", async (p, ws) => { ws.send(frameOf(0x81, [0x34, 0xff])); await p.hear(ws); });
said("a ping that is too long", async (p, ws) => { ws.send(frameOf(0x89, "a".repeat(126))); await p.hear(ws); });
said("a continuation of nothing", async (p, ws) => { ws.send(frameOf(0x80, "a")); await p.hear(ws); });
for (const code of [1000, 1001, 3000, 4999, 999, 1005, 1015]) {
  said(`closed with ${code}`, async (p, ws) => { ws.send(frameOf(0x88, [code >> 8, code & 255])); await p.hear(ws); });
}
said("closed without a code", async (p, ws) => { ws.send(frameOf(0x88, [])); await p.hear(ws); });

// ---- upgrades
const probe = (p, session) => p.webSocket(session.replace("polling", "websocket"));
const probed = async (p) => {
  const session = await p.open();
  const ws = await probe(p, session);
  p.text(ws, "2probe");
  await p.hear(ws);
  return { session, ws };
};
engine("upgrade", async (p) => {
  const { session, ws } = await probed(p);
  await p.poll(session);
  p.text(ws, "5", "4hello");
  await p.hear(ws);
  await p.poll(session);
  await p.say(session, "4late");
  const again = await probe(p, session);
  await p.hear(again);
  p.text(ws, "4after");
  await p.hear(ws);
});
engine("upgrade while a poll waits", async (p) => {
  const session = await p.open();
  const poll = p.request("GET", session);
  await p.say(session, "3");
  const ws = await probe(p, session);
  p.text(ws, "2probe");
  await p.hear(ws);
  await p.answer(poll);
  p.text(ws, "5", "4hello");
  await p.hear(ws);
});
engine("two and three polls between probe and upgrade", async (p) => {
  const { session, ws } = await probed(p);
  for (let i = 0; i < 3; i++) await p.poll(session);
  p.text(ws, "5", "4hello");
  await p.hear(ws);
});
engine("messages between probe and upgrade", async (p) => {
  const { session, ws } = await probed(p);
  await p.say(session, "4a");
  await p.poll(session);
  await p.say(session, "4b\x1ebAQID");
  p.text(ws, "5", "4c");
  await p.hear(ws, 3);
});
engine("upgrade without a probe", async (p) => {
  const session = await p.open();
  const ws = await probe(p, session);
  p.text(ws, "5", "4after");
  await p.hear(ws);
});
for (const [what, ...all] of [["a message", "4a"], ["a ping without probe", "2"], ["nothing that is a packet", "abc"], ["a close", "1"]]) {
  engine(`probe with ${what}`, async (p) => {
    const session = await p.open();
    const ws = await probe(p, session);
    p.text(ws, ...all);
    await p.hear(ws);
    await p.say(session, "4after");
    await p.poll(session);
  });
}
engine("a message after the probe", async (p) => {
  const { session, ws } = await probed(p);
  p.text(ws, "4a");
  await p.hear(ws);
  await p.say(session, "4after");
  await p.poll(session);
});
engine("two probes at once", async (p) => {
  const { session, ws } = await probed(p);
  const other = await probe(p, session);
  await p.hear(other);
  p.text(ws, "5", "4hello");
  await p.hear(ws);
  await p.ask("GET", session);
});
engine("a probe that ends", async (p) => {
  const { session, ws } = await probed(p);
  ws.send(frameOf(0x88, []));
  await p.hear(ws);
  await p.say(session, "4after");
  await p.poll(session);
});
engine("a probe that is not followed", async (p) => {
  const { session, ws } = await probed(p);
  await p.hear(ws); // after 10 s
  await p.say(session, "4after");
  await p.poll(session);
});

// ---- heartbeats
engine("WebSocket: pings and pongs", async (p) => {
  const ws = await p.socket();
  for (let i = 0; i < 2; i++) {
    await p.hear(ws);
    p.text(ws, "3");
  }
  await p.hear(ws, 2); // and then none
}, "quick");
engine("pings and pongs", async (p) => {
  const session = await p.open();
  for (let i = 0; i < 2; i++) {
    await p.poll(session);
    await p.say(session, "3");
  }
  await p.poll(session);
  await p.poll(session); // without an answer
}, "quick");
engine("pings, without any poll", async (p) => {
  const session = await p.open();
  await sleep(3000);
  await p.poll(session);
}, "quick");

// ---- Socket.IO
const talk = (name, all, { n, times } = {}) => socketio(name, async (p) => {
  const ws = await p.socket();
  for (const packet of all) { // one after the other is dealt with, as those of a client that waits for answers
    (typeof packet === "string" ? p.text : p.binary).call(p, ws, packet);
    await ws.settle();
  }
  await p.hear(ws, n);
}, times);
talk("connect", ["40"], { n: 2 });
talk("connect with auth", ['40{"token":"123"}'], { n: 2 });
talk("connect with an empty auth", ["40{}"], { n: 2 });
talk("connect to a namespace", ['40/custom,{"token":"abc"}'], { n: 2 });
talk("connect to a namespace, without the comma", ["40/custom"], { n: 2 });
talk("connect to a namespace with a query", ["40/custom?a=1,"], { n: 1 });
talk("connect to an unknown namespace", ["40/random", "40"], { n: 2 });
talk("connect to a namespace that is long", [`40/${"a".repeat(300)}`, "40"], { n: 2 });
talk("connect twice", ["40", "40"], { n: 3 });
talk("connect to two", ["40", "40/custom,", '42["message",1]', '42/custom,["message",2]'], { n: 6 });
for (const data of ["[]", '"x"', "1", "null", "{", "true"]) talk(`connect with ${data}`, [`40${data}`], { n: 1 });
talk("no connect in time", [], { n: 1, times: "quick" });
talk("an event before connect", ['42["message"]'], { n: 1 });
talk("an event of another namespace", ["40", '42/custom,["message"]'], { n: 3 });
talk("events", ["40", '42["message",1,"2",{"3":[true]}]', '42["message"]', '42["message","€ 😀"]'], { n: 5 });
talk("an event nobody listens to", ["40", '42["other",1]', '42["message",1]'], { n: 3 });
talk("acknowledgements", ["40", '427["message-with-ack",1,"2",{"3":[false]}]', '420["message-with-ack"]', '429007199254740991["message-with-ack"]'], { n: 5 });
talk("an acknowledgement nobody waits for", ["40", '431["x"]', '42["message",1]'], { n: 3 });
talk("an acknowledgement without an id", ["40", '43["x"]', '42["message",1]'], { n: 3 });
talk("an id with leading zeros", ["40", '42007["message-with-ack"]'], { n: 3 });
talk("an id of 20 digits", ["40", '4212345678901234567890["message-with-ack"]'], { n: 3 });
for (const data of ["", "{}", "[]", '["connect"]', '["disconnecting"]', "[1]", "[null]", "[{}]", '"message"', "abc", '["message"', 'abc["message-with-ack"]', '-1["message"]', ' ["message"]']) {
  talk(`event ${data}`, ["40", `42${data}`, '42["message","after"]'], { n: 3 });
}
for (const packet of ["4", "47", "4abc", "49[]"]) talk(`packet ${packet}`, ["40", packet, '42["message","after"]'], { n: 3 });
talk("a connect error of a client", ["40", '44{"message":"x"}'], { n: 3 });
talk("disconnect", ["40", "41", "40"], { n: 4 });
talk("disconnect with data", ["40", "41{}", '42["message","after"]'], { n: 3 });
talk("disconnect of one of two", ["40", "40/custom,", "41/custom,", '42["message",1]'], { n: 5 });
talk("disconnect, then an event", ["40", "41", '42["message",1]'], { n: 3 });
talk("disconnect of no namespace", ["41"], { n: 1 });
const placeholders = (n, from = 0) => Array.from({ length: n }, (_, i) => `{"_placeholder":true,"num":${from + i}}`).join();
talk("binary", ["40", `451-["message",${placeholders(1)}]`, [1, 2, 3]], { n: 4 });
talk("binary with an acknowledgement", ["40", `452-7["message-with-ack",${placeholders(2)}]`, [1, 2, 3], []], { n: 5 });
talk("binary, of a namespace", ["40/custom,", `451-/custom,["message",${placeholders(1)}]`, [1, 2, 3]], { n: 4 });
talk("binary without attachments", ["40", '450-["message",1]', '42["message",2]'], { n: 4 });
talk("10 attachments", ["40", `4510-["message",${placeholders(10)}]`, ...Array.from({ length: 10 }, (_, i) => [i])], { n: 13 });
talk("11 attachments", ["40", `4511-["message",${placeholders(11)}]`], { n: 3 });
talk("binary of nothing", ["40", [1, 2, 3]], { n: 3 });
talk("text while attachments are due", ["40", `451-["message",${placeholders(1)}]`, '42["message",1]'], { n: 3 });
talk("a placeholder too high", ["40", `451-["message",${placeholders(1, 1)}]`, [1]], { n: 3 });
talk("a placeholder that is no number", ["40", '451-["message",{"_placeholder":true,"num":"0"}]', [1]], { n: 3 });
talk("a placeholder that is none", ["40", '451-["message",{"_placeholder":1,"num":0}]', [1], '42["message","after"]'], { n: 4 });
for (const n of ["", "-1", "1.5", "a", "1"]) talk(`attachments ${JSON.stringify(n)}`, ["40", `45${n === "1" ? "1" : `${n}-`}["message"]`, '42["message",1]'], { n: 3 });
talk("a binary acknowledgement nobody waits for", ["40", `461-1[${placeholders(1)}]`, [1], '42["message",1]'], { n: 3 });
socketio("polled: connect, events, binary", async (p) => {
  const session = await p.open();
  await p.say(session, "40");
  await p.poll(session);
  await p.say(session, `42["message",1]\x1e451-["message",${placeholders(1)}]\x1ebAQID`);
  await p.poll(session);
});
socketio("polled: a breach", async (p) => {
  const session = await p.open();
  await p.say(session, "40");
  await p.poll(session);
  await p.say(session, "4abc");
  await p.poll(session);
});
socketio("upgrade with Socket.IO in it", async (p) => {
  const session = await p.open();
  await p.say(session, "40");
  const ws = await probe(p, session);
  p.text(ws, "2probe");
  await p.hear(ws);
  await p.poll(session);
  p.text(ws, "5", '42["message",1]');
  await p.hear(ws);
});

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// until repeats ask until it is so, and notes nothing.
async function until(p, ask) {
  for (let left = 200; left > 0 && !(await ask()); left--) await sleep(20);
}
