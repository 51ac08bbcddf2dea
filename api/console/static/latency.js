// How long notifications took: from when this page sent them, or, when somebody else
// did, from the time that the server has written into their ids.

const LIMIT = 1024; // ids remembered

const sentAt = new Map(); // by id, on the clock of performance.now()
const arrivals = new Map(); // by id: what waits to hear when it was sent

// sent says when this page sent the notification of an id.
export function sent(id, at) {
  remember(sentAt, id, at);
  for (const { when, show } of arrivals.get(id) ?? []) show(took(when - at));
  arrivals.delete(id);
}

// arrived calls show with how long a notification took, and again when that is known
// better: the answer to who sent it may come after it.
export function arrived(id, show) {
  const when = performance.now();
  if (sentAt.has(id)) {
    show(took(when - sentAt.get(id)));
    return;
  }
  const made = timeOf(id);
  if (made !== undefined) show(`≈ ${took(Math.max(0, Date.now() - made), 0)}`);
  remember(arrivals, id, [...(arrivals.get(id) ?? []), { when, show }]);
}

const took = (ms, digits = 1) => (ms < 1000 ? `${ms.toFixed(digits)} ms` : `${(ms / 1000).toFixed(1)} s`);

function remember(map, id, value) {
  map.set(id, value);
  if (map.size > LIMIT) map.delete(map.keys().next().value);
}

const DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

// timeOf is the Unix time in ms that a ULID begins with.
function timeOf(id) {
  if (!/^[0-7][0-9A-HJKMNP-TV-Z]{25}$/.test(id)) return undefined;
  return [...id.slice(0, 10)].reduce((ms, digit) => ms * 32 + DIGITS.indexOf(digit), 0);
}
