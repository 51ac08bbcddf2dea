// Small helpers around the document. What comes from outside is only ever set
// as text.

export const $ = (id) => document.getElementById(id);

export function element(tag, className, text) {
  const e = document.createElement(tag);
  if (className) e.className = className;
  if (text !== undefined) e.textContent = text;
  return e;
}

export const plural = (n, one, many = `${one}s`) => `${n} ${n === 1 ? one : many}`;

export function clock(d) {
  const two = (n) => String(n).padStart(2, "0");
  return `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}.${String(d.getMilliseconds()).padStart(3, "0")}`;
}

const COPIED = 1500; // ms that a button says so

// copyButton copies what text returns when it is pressed; what names it to
// those who do not see what it stands beside.
export function copyButton(what, text) {
  const button = element("button", "copy", "Copy");
  button.type = "button";
  button.setAttribute("aria-label", `Copy ${what}`);
  let timer;
  button.addEventListener("click", async () => {
    button.textContent = (await copy(text())) ? "Copied" : "Not allowed";
    clearTimeout(timer);
    timer = setTimeout(() => { button.textContent = "Copy"; }, COPIED);
  });
  return button;
}

// copy reports whether text is on the clipboard now. Pages that come over
// plain HTTP from another machine have only the old way.
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = element("textarea", "offscreen", text);
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

// names are the words of text, between spaces and commas.
export const names = (text) => text.split(/[\s,]+/).filter(Boolean);
