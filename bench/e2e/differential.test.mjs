// Plays the same bytes to npm's engine.io and socket.io and to `homing bench socketio`.
// Every difference stands in a table of docs/protocol.md, and what stands there differs.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { compare, differences } from "./differential/compare.mjs";
import { scripts } from "./differential/scripts.mjs";

// rows are those of the table: {names, npm, homing}. A name that ends with * stands for
// all that begin like it.
function rows() {
  const text = readFileSync(new URL("../../docs/protocol.md", import.meta.url), "utf8");
  const section = text.split("### Beside the npm servers\n")[1]?.split(/\n##+ /)[0];
  assert.ok(section, "docs/protocol.md has the section");
  const code = (cell) => [...cell.matchAll(/`([^`]*)`/g)].map((m) => m[1]);
  return section.split("\n").filter((l) => l.startsWith("| `")).map((line) => {
    const [npm, homing, , where] = line.slice(2).split(" | ");
    return { npm: code(npm).join(), homing: code(homing).join(), names: code(where) };
  });
}

const stands = (row, name) => row.names.some((n) => (n.endsWith("*") ? name.startsWith(n.slice(0, -1)) : n === name));

test("the same bytes are answered as npm's servers answer them", { timeout: 120_000 }, async () => {
  const table = rows();
  assert.ok(table.length > 0, "the table has rows");
  const used = new Map(table.map((row) => [row, new Set()]));
  const unexplained = [];
  const results = await compare();
  assert.equal(results.length, scripts.length, "every script was played");
  for (const { name, npm, homing } of results) {
    assert.ok(npm.length > 0, `${name}: npm's server has answered nothing`);
    for (const [a, b] of differences(npm, homing)) {
      const row = table.find((r) => r.npm === a && r.homing === b && stands(r, name));
      if (row) for (const n of row.names) stands({ names: [n] }, name) && used.get(row).add(n);
      else unexplained.push(`${name}\n    npm:    ${a}\n    Homing: ${b}`);
    }
  }
  assert.deepEqual(unexplained, [], `differences that docs/protocol.md does not have:\n${unexplained.join("\n")}`);
  for (const row of table) for (const n of row.names) assert.ok(used.get(row).has(n), `no such difference any more: ${n}: ${row.npm} | ${row.homing}`);
});
