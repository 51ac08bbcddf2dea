// Builds dist: ESM and CommonJS, a script for <script> tags, and types for both.
// Ends with 1 when the client is larger than it may be.
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { minify } from "terser";

const MOST = 6 * 1024; // bytes, gzipped

const root = fileURLToPath(new URL("..", import.meta.url));
const dist = join(root, "dist");
rmSync(dist, { recursive: true, force: true });
mkdirSync(dist);

const shared = { entryPoints: [join(root, "src/index.ts")], bundle: true, minify: true, target: "es2022", mangleProps: /^_/ };
const { outputFiles: [{ text }] } = await build({ ...shared, format: "esm", write: false });
// terser makes it smaller than esbuild alone does.
const compress = { passes: 3, ecma: 2020, keep_fargs: false, pure_getters: true, unsafe_arrows: true };
const { code } = await minify(text, { module: true, compress, mangle: true });
const [, body, exported] = /^(.*)export\{(.*)\};\s*$/s.exec(code);
const names = exported.split(",").map((as) => as.split(" as ")); // [here, outside]
const files = {
  "index.js": code,
  "index.cjs": `"use strict";${body}${names.map(([here, outside]) => `exports.${outside}=${here}`).join(";")};`,
  "global.js": `var Homing=(()=>{${body}return{${names.map(([here, outside]) => `${outside}:${here}`)}}})();`,
};
for (const [name, text] of Object.entries(files)) writeFileSync(join(dist, name), `${text}\n`);

const require = createRequire(import.meta.url);
const tsc = join(dirname(require.resolve("typescript/package.json")), "bin/tsc");
execFileSync(process.execPath, [tsc, "-p", root], { stdio: "inherit" });
// A CommonJS project reads .d.cts, whose imports must lead to such files, too.
for (const name of readdirSync(dist).filter((n) => n.endsWith(".d.ts"))) {
  const text = readFileSync(join(dist, name), "utf8");
  writeFileSync(join(dist, name.replace(/ts$/, "cts")), text.replaceAll(/(from "\.\/[\w-]+)\.js"/g, '$1.cjs"'));
}
copyFileSync(join(root, "../go/LICENSE"), join(dist, "../LICENSE"));

const sizes = Object.keys(files).map((name) => {
  const bytes = gzipSync(readFileSync(join(dist, name)), { level: 9 }).length;
  console.log(`${name}: ${bytes} bytes gzipped`);
  return bytes;
});
if (Math.max(...sizes) > MOST) {
  console.error(`the client is larger than ${MOST} bytes`);
  process.exit(1);
}
