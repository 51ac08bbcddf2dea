// Makes src/wire.ts, the types of the protocol's messages, from docs/asyncapi.yaml.
//
//   node scripts/wire.mjs           write it
//   node scripts/wire.mjs --check   end with 1 when it is not what it should be
import { readFileSync, writeFileSync } from "node:fs";
import { parse } from "yaml";

const out = new URL("../src/wire.ts", import.meta.url);
const doc = parse(readFileSync(new URL("../../../docs/asyncapi.yaml", import.meta.url), "utf8"));
const { schemas } = doc.components;
const name = (key) => key[0].toUpperCase() + key.slice(1);
const unknown = (what, where) => { throw new Error(`${where}: no type for ${JSON.stringify(what)}`); };

function type(s, where) {
  if (s.$ref) return name(s.$ref.split("/").pop());
  if (s.const !== undefined) return JSON.stringify(s.const);
  if (s.enum) return s.enum.map((v) => JSON.stringify(v)).join(" | ");
  switch (s.type) {
    case undefined: return "unknown";
    case "string": return "string";
    case "integer": case "number": return "number";
    case "boolean": return "boolean";
    case "array": return `Array<${type(s.items, where)}>`;
    case "object": return s.properties ? object(s, where) : "Record<string, unknown>";
    default: return unknown(s, where);
  }
}

function object(s, where) {
  const fields = Object.entries(s.properties).map(([key, value]) => {
    const comment = value.description ? `/** ${value.description} */ ` : "";
    return `${comment}${key}${s.required?.includes(key) ? "" : "?"}: ${type(value, `${where}.${key}`)}`;
  });
  return `{ ${fields.join("; ")} }`;
}

// payloads are the messages of an operation, by the names of their schemas.
function payloads(messages) {
  return messages.map((m) => m.$ref.split("/").pop());
}

const said = new Set();
const heard = new Set();
for (const [key, op] of Object.entries(doc.operations)) {
  if (op.action !== "send" && op.action !== "receive") unknown(op.action, key);
  for (const m of payloads(op.messages)) (op.action === "send" ? heard : said).add(m);
  for (const m of payloads(op.reply?.messages ?? [])) heard.add(m);
}

const lines = ["// Made from docs/asyncapi.yaml by scripts/wire.mjs: not to be changed by hand.", ""];
for (const [key, schema] of Object.entries(schemas)) lines.push(`export type ${name(key)} = ${type(schema, key)};`);
lines.push("", "/** What a server says. */", `export type ServerMessage = ${[...heard].map(name).join(" | ")};`);
lines.push("", "/** What a client says. */", `export type ClientMessage = ${[...said].map(name).join(" | ")};`, "");
const text = lines.join("\n");

if (!process.argv.includes("--check")) {
  writeFileSync(out, text);
} else if (readFileSync(out, "utf8") !== text) {
  console.error("src/wire.ts is not what docs/asyncapi.yaml says: node scripts/wire.mjs");
  process.exit(1);
}
