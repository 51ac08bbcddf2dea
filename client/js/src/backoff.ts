import type { End } from "./link.js";

/** A random time from 0 up to ms. */
export const random = (ms: number): number => Math.random() * ms;

/** A second or two, in ms. */
export const soon = (): number => 1000 + random(1000);

/** Whether what was refused with this code may work soon. */
export const passing = (code: string): boolean => code === "unavailable" || code === "rate_limited";

const FIRST = 250; // ms
const DOUBLINGS = 7; // 32 s
/** A connection that has lasted for so many ms was no failure. */
export const STEADY = 10_000;

/** The growing pause, in ms, after so many failures in a row. */
export function grown(failures: number): number {
  if (failures < 1) return 0;
  const pause = FIRST * 2 ** Math.min(failures - 1, DOUBLINGS);
  return pause / 2 + random(pause);
}

/** How long to wait before the next attempt, in ms: docs/protocol.md, "Reconnecting". */
export function pause(end: End, failures: number, longest: number): number {
  const { _hint: hint, code, _after: after } = end;
  if (hint) {
    const left = Math.min(Math.max(0, hint._at - now()), longest);
    return Math.max(left + random(Math.max(Math.min(hint._after, longest) / 10, FIRST)), grown(failures - 1));
  }
  if (after) {
    const told = Math.max(Math.min(after, longest), 1000);
    return told + random(told / 10 + 1000);
  }
  if (code === 1012) return Math.max(random(2000), grown(failures - 1));
  if (told(end)) return 2500 + random(5000);
  return grown(failures);
}

/** Whether the server has said when to come back: nothing makes that sooner. */
export const told = (end: End): boolean =>
  !!(end._hint || end._after) || end.code === 1012 || end.code === 1013 || end.status === 429 || end.status === 503;

/** Codes that somebody has ended it with on purpose, or because of what the client does: 1000, 1002, 1003, 1007 to 1010, 4003, 4010. */
const LAST = /^(10(0[0237-9]|10)|40(03|10))$/;
/** Statuses from 400 to 499 that pass. 404 and 405: the front has no event streams, at which the client asks why. */
const PASSING = /^4(0[1458]|2[59])$/;

/** Whether an end will not pass with time. */
export const permanent = ({ code, status = 0 }: End): boolean => LAST.test(`${code}`) || (status >= 400 && status < 500 && !PASSING.test(`${status}`));

/** Milliseconds of a clock that nobody sets. */
export const now = (): number => performance.now();
