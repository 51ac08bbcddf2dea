/** Where a client keeps its places between two connections, or runs. A Map is one: it keeps them as long as the program runs. */
export interface Storage {
  get(key: string): string | null | undefined | Promise<string | null | undefined>;
  set(key: string, value: string): unknown;
}

/** Keeps places in the browser. Where it may not, the client says so in "error" and goes on. */
export function browserStorage(): Storage {
  return { get: (key) => localStorage.getItem(key), set: (key, value) => localStorage.setItem(key, value) };
}
