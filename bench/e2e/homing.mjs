// Starts `homing dev` for a test, on ports of its own.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const binary = process.env.HOMING_BIN ?? fileURLToPath(new URL("../../bin/homing", import.meta.url));
const START = 30_000; // ms
const STOP = 20_000; // ms

// freePort finds a port below the ephemeral range, where no outgoing
// connection can take it before the server does.
export async function freePort() {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    const probe = createServer().listen(port, "127.0.0.1");
    const [event] = await Promise.race([
      once(probe, "listening").then(() => ["free"]),
      once(probe, "error").then(() => ["taken"]),
    ]);
    if (event !== "free") continue;
    probe.close();
    await once(probe, "close");
    return port;
  }
}

// startDev resolves once the server is ready: {api, front, log(), stop()}.
export async function startDev(...more) {
  const [apiPort, frontPort] = [await freePort(), await freePort()];
  const api = `http://127.0.0.1:${apiPort}`;
  const args = ["dev", "--api-listen", `127.0.0.1:${apiPort}`, "--front-listen", `127.0.0.1:${frontPort}`, ...more];
  const child = spawn(binary, args, { stdio: ["ignore", "pipe", "pipe"] });
  let log = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (b) => { log = (log + b).slice(-20_000); });
  const ended = new Promise((resolve) => {
    child.once("error", (err) => resolve(`could not be started: ${err.message}`));
    child.once("exit", (code, signal) => resolve(`ended with ${signal ?? code}`));
  });

  const stop = async () => {
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
    child.kill("SIGTERM");
    const killer = setTimeout(() => child.kill("SIGKILL"), STOP);
    await ended;
    clearTimeout(killer);
  };

  try {
    await Promise.race([
      ready(api),
      ended.then((how) => { throw new Error(`${binary} ${how}`); }),
    ]);
  } catch (err) {
    await stop();
    throw new Error(`${err.message}\n${log}`);
  }
  return { api, front: `ws://127.0.0.1:${frontPort}/ws`, log: () => log, stop };
}

async function ready(api) {
  const deadline = Date.now() + START;
  let last = "no answer";
  while (Date.now() < deadline) {
    try {
      const res = await fetch(`${api}/readyz`, { signal: AbortSignal.timeout(2000) });
      if (res.ok) return;
      last = await res.text();
    } catch (err) {
      last = err.cause?.message ?? err.message;
    }
    await sleep(100);
  }
  throw new Error(`not ready after ${START / 1000} s: ${last}`);
}
