// What agents of this client do with the commands of client/conformance, in Node
// and in a page alike.

/** Returns {tell(command), close()}; say is given each event. */
export function agent(Client, say, { WebSocket, system }) {
  let client;
  let room;
  const held = new Map();
  const topics = new Map();

  function start({ url, tokens, place, hold }) {
    let given = 0;
    const kept = new Map();
    client = new Client({
      url,
      WebSocket,
      token: () => tokens[Math.min(given++, tokens.length - 1)],
      storage: { get: () => kept.get("it") ?? (place && JSON.stringify({ places: { "": place } })), set: (_, value) => kept.set("it", value) },
    });
    client.on("state", ({ state, code, status }) => say({ event: "state", state, code, status }));
    client.on("resumed", ({ recovered }) => say({ event: "resumed", recovered }));
    client.on("friends", (all) => say({ event: "friends", online: [...all.keys()].sort() }));
    client.on("error", () => {});
    client.on("notify", async ({ id, type, from, user, topics, data }) => {
      say({ event: "notify", id, type, from, user, topics, data });
      if (hold?.includes(id)) await new Promise((handled, fail) => held.set(id, { handled, fail }));
    });
  }

  async function answered(as, event, promise) {
    try {
      const x = await promise;
      say(event(x));
    } catch ({ code }) {
      say({ event: "refused", as, code });
    }
  }

  function subscribe({ topic, history, as }) {
    const t = client.subscribe(topic, { history });
    topics.set(topic, t);
    let recovered;
    const off = t.on("subscribed", (m) => ({ recovered } = m) && off());
    void answered(as, () => ({ event: "subscribed", as, topic, recovered }), t.ready);
  }

  function join({ url, ticket }) {
    room = client.join({ url, ticket });
    room.on("joined", ({ room, seat }) => say({ event: "joined", room, seat }));
    const shown = (v) => (v instanceof Uint8Array ? Array.from(v, (b) => b.toString(16).padStart(2, "0")).join("") : v);
    room.on("frame", ({ events }) => {
      const state = Object.fromEntries(Object.entries(room.state).map(([key, v]) => [key, shown(v)]));
      say({ event: "frame", events: events.map((e) => e.n), state });
    });
    room.on("left", ({ why, reason }) => say({ event: "left", why, reason }));
  }

  const commands = {
    start,
    handled: ({ id }) => held.get(id).handled(),
    fail: ({ id }) => held.get(id).fail(new Error("as told")),
    close: () => void client?.close(),
    subscribe,
    unsubscribe: ({ topic }) => void topics.get(topic).unsubscribe(),
    publish: ({ topic, type, data, as }) => void answered(as, ({ id }) => ({ event: "published", as, id }), client.publish(topic, data, { type })),
    join,
    say: ({ data, hex }) => void room.say(hex ? Uint8Array.from(hex.match(/../g), (b) => parseInt(b, 16)) : data),
    leave: () => void room.leave(),
    offline: system,
    online: system,
    clock: system,
  };
  return { tell: (m) => void commands[m.do](m), close: () => client?.close() };
}
