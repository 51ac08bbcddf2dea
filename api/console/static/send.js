// The form that sends notifications, as a backend does.

import { $, copyButton, names, plural } from "./dom.js";
import { call, curl } from "./http.js";
import { sent } from "./latency.js";

const KEEP = 100; // messages of a topic's history

// request is what the form asks for, and what is shown as a command.
function request() {
  const body = { data: data().value };
  const users = names($("to").value);
  const topics = names($("topics").value);
  if (users.length) body.users = users;
  if (topics.length) body.topics = topics;
  for (const name of ["type", "from"]) if ($(name).value.trim()) body[name] = $(name).value.trim();
  if ($("class").value !== "must") body.class = $("class").value;
  if (body.class === "latest") body.key = $("key").value;
  if (topics.length && $("keep").value) body.keep = { count: KEEP, age: $("keep").value };
  if (!topics.length && $("store").value) body.store = $("store").value;
  return { method: "POST", path: "/notify", body };
}

// data is the form's data: JSON when it reads as such, else the text itself.
function data() {
  const text = $("data").value;
  try {
    return { value: JSON.parse(text), kind: "JSON" };
  } catch {
    return { value: text, kind: "not JSON: sent as a string" };
  }
}

// update shows what belongs to what the form says now.
function update() {
  const latest = $("class").value === "latest";
  $("key-label").hidden = !latest;
  $("key").required = latest;
  const topics = names($("topics").value).length > 0;
  $("keep-label").hidden = !topics;
  $("store-label").hidden = topics; // it does not go with topics
  $("to").required = !topics;
  $("data-kind").textContent = data().kind;
  $("curl").textContent = curl(request());
}

// aim has the next notification go to user.
export function aim(user) {
  $("to").value = user;
  update();
}

async function send() {
  const started = performance.now();
  const r = await call(request());
  sent(r.id, started);
  const to = [];
  if (r.targets) to.push(`${plural(r.targets, "user")}: ${r.online} online, ${r.offline} offline`);
  if (names($("topics").value).length) to.push(`${plural(r.topics ?? 0, "topic")} with members`);
  result("good", `Sent to ${to.join("; ")}, ${plural(r.processes, "process", "processes")}, ${(performance.now() - started).toFixed(1)} ms.`);
}

function result(state, text) {
  $("result").dataset.state = state;
  $("result").textContent = text;
}

$("send").addEventListener("input", update);
$("send").addEventListener("submit", async (e) => {
  e.preventDefault();
  $("send-button").disabled = true;
  try {
    await send();
  } catch (err) {
    result("bad", err.message);
  } finally {
    $("send-button").disabled = false;
  }
});
$("curl").after(copyButton("the command", () => $("curl").textContent));
update();
