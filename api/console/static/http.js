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
