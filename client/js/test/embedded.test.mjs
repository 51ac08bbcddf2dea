// The playground of `homing dev` is built on this client: the copy that the binary
// holds is the one that is built here.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const read = (path) => readFileSync(new URL(path, import.meta.url), "utf8");

test("the copy in api/console is what is built", () => {
  const same = read("../dist/global.js") === read("../../../api/console/static/homing.js");
  assert.ok(same, "make it the same: npm run embed");
});
