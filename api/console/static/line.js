// A player's line to the server, which can be cut: the socket is closed under the
// client, which has not asked for it, and nothing gets through for so many ms, or
// until it is mended.

export class Line {
  #socket;
  #until = 0; // when the line is whole again

  constructor() {
    const line = this;
    // What the client uses instead of the browser's own.
    this.WebSocket = class {
      constructor(...args) {
        if (line.isCut) return new Dead();
        return line.#socket = new WebSocket(...args);
      }
    };
    this.fetch = (...args) => (this.isCut ? Promise.reject(new TypeError("the line is cut")) : fetch(...args));
  }

  get isCut() { return performance.now() < this.#until; }

  cut(ms) {
    this.#until = performance.now() + ms;
    this.#socket?.close();
  }

  mend() { this.#until = 0; }
}

// Dead is a WebSocket that cannot connect.
class Dead {
  constructor() { setTimeout(() => this.onclose?.({ code: 1006, reason: "" })); }
  send() {}
  close() {}
}
