// The client of after.mjs. It hears over Socket.IO, as before, and speaks to the backend.
import { io } from "socket.io-client";

// enter comes into a guild's chat and resolves to {say, leave}. heard is called with
// each line, announced with each announcement.
export async function enter({ server, backend, token, homingToken, guild, heard, announced }) {
  const socket = io(server, { auth: { token: homingToken }, transports: ["websocket"] });
  const topic = `guild:${guild}`;
  const seen = new Set(); // what comes again after a lost connection has the same id
  let place; // the last line, to ask for what was missed after it
  socket.on("notify", ({ id, type, data, kept }) => {
    if (kept) place = id;
    if (seen.has(id) || !seen.add(id)) return;
    if (type === "chat") heard(data);
    if (type === "announcement") announced(data);
  });
  const come = async () => {
    const answer = await socket.timeout(5000).emitWithAck("subscribe", { topic, ...(place && { after: place }) });
    if (answer.t === "error") throw new Error(answer.code);
  };
  await new Promise((resolve, reject) => {
    socket.once("connect_error", reject);
    socket.once("hello", () => come().then(resolve, reject));
  });
  socket.io.on("reconnect", () => socket.once("hello", come));
  return {
    say: async (text) => (await fetch(`${backend}/chat`, {
      method: "POST", headers: { Authorization: `Bearer ${token}` }, body: JSON.stringify({ guild, text }),
    })).json(),
    leave: () => socket.disconnect(),
    socket,
  };
}
