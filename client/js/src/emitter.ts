/** Ends a subscription to an event. */
export type Off = () => void;

type Listener<T> = (event: T) => unknown;

/** Typed events. E maps their names to what their listeners are given. */
export class Emitter<E extends object> {
  private _listeners = new Map<keyof E, Set<Listener<never>>>();

  /** @internal report hears of listeners that fail. */
  constructor(readonly _report: (error: unknown) => void) {}

  /** Calls f for each event of that name, until the function that is returned is called. */
  on<K extends keyof E>(name: K, f: Listener<E[K]>): Off {
    let all = this._listeners.get(name);
    if (!all) this._listeners.set(name, (all = new Set()));
    all.add(f);
    return () => void all.delete(f);
  }

  /** @internal What the listeners return, as promises. */
  _call<K extends keyof E>(name: K, event: E[K]): Promise<unknown>[] {
    return [...(this._listeners.get(name) ?? [])].map(async (f) => (f as Listener<E[K]>)(event));
  }

  /** @internal */
  _emit<K extends keyof E>(name: K, event: E[K]): void {
    for (const done of this._call(name, event)) done.catch(this._report);
  }
}
