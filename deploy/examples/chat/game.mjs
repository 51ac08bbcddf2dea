// What the game knows, the same before and after.

// userOf is whom a session of the game belongs to; here they are plain names.
export const userOf = (session) => /^session-of-([a-z]+)$/.exec(session ?? "")?.[1];

// allowed reports whether a user is of a guild.
export const allowed = (user, guild) => user !== "mallory" || guild === "7b";

// body is what a request carries.
export async function body(req) {
  let text = "";
  for await (const part of req) if ((text += part).length > 16_384) throw new Error("too long");
  return JSON.parse(text);
}
