// Requests to the API, which explains refusals in problem documents.

// refuse throws what a problem document says.
export async function refuse(res) {
  if (res.ok) return;
  let text = `HTTP ${res.status}`;
  try {
    const p = await res.json();
    text = [p.title, p.field, p.detail].filter(Boolean).join(": ");
  } catch { /* not from Homing: the status has to do */ }
  throw Object.assign(new Error(text), { permanent: res.status >= 400 && res.status < 500 && res.status !== 408 && res.status !== 429 });
}

export async function getJSON(path) {
  const res = await fetch(path);
  await refuse(res);
  return res.json();
}

export async function getText(path) {
  const res = await fetch(path);
  await refuse(res);
  return res.text();
}

// call makes a request, {method, path, body}, to the API, and returns its answer.
export async function call({ method, path, body }) {
  const res = await fetch(path, { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  await refuse(res);
  return res.status === 204 ? undefined : res.json();
}

// curl is the same request as a command for a shell.
export function curl({ method, path, body }) {
  const verb = method === "POST" ? "" : `-X ${method} `; // which -d makes it anyway
  return `curl ${verb}${quote(location.origin + path)} -H 'Content-Type: application/json' -d ${quote(JSON.stringify(body))}`;
}

// quote has a shell take text as one word; a user id may hold a quote.
export const quote = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
