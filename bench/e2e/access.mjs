// Lets tests in: tokens of players, and API keys.
import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";

// line reads a file that holds one line.
export const line = (file) => readFileSync(file, "utf8").replace(/[\r\n]+$/, "");

const base64url = (v) => Buffer.from(v).toString("base64url");

// sign makes a token of claims (JWT, HS256), good for an hour.
export function sign(secret, claims) {
  const now = Math.floor(Date.now() / 1000);
  const all = { ...claims, iat: now, exp: now + 3600 };
  const text = `${base64url('{"alg":"HS256","typ":"JWT"}')}.${base64url(JSON.stringify(all))}`;
  return `${text}.${createHmac("sha256", secret).update(text).digest("base64url")}`;
}
