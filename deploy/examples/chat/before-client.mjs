// The client of before.mjs.
import { io } from "socket.io-client";

// enter comes into a guild's chat and resolves to {say, leave}. heard is called with
// each line, announced with each announcement.
export async function enter({ server, token, guild, heard, announced }) {
  const socket = io(server, { auth: { token }, transports: ["websocket"] });
  socket.on("chat", heard);
  socket.on("announcement", announced);
  const come = async () => {
    const answer = await socket.timeout(5000).emitWithAck("enter", guild);
    if (answer.error) throw new Error(answer.error);
  };
  await new Promise((resolve, reject) => {
    socket.once("connect_error", reject);
    socket.once("connect", () => come().then(resolve, reject));
  });
  socket.io.on("reconnect", come); // what was said meanwhile is lost
  return {
    say: (text) => socket.timeout(5000).emitWithAck("chat", guild, text),
    leave: () => socket.disconnect(),
    socket,
  };
}
