// Draws the arena: what its states say, moved smoothly between two frames.

const WIDTH = 640; // units of the room's board
const HEIGHT = 400;
const BAR_REACH = 120;
const BAR_SIZE = 7;
const BAR_ANGLES = 128;
const BAR_PERIOD = 160; // ticks between two changes of its direction
const BAR_WARNING = 30; // ticks before one in which it shows
const PLAYER = 10; // radii
const GUARD = 11;
const COIN = 7;

const LETTERS = 11; // units, and dots on a small screen

const SMOOTH = 60; // ms in which most of the way to a new place is made
const JUMP = 60; // units beyond which nobody walks
const EFFECT = 900; // ms
const SEAT_COLORS = 8;

export const seatColor = (seat) => `--seat-${seat % SEAT_COLORS}`;

export class Board {
  #canvas; #draw; #colors = {};
  #letters = LETTERS; // height of names
  #bodies = new Map(); // where each is shown: {x, y}
  #effects = [];
  #last = 0;

  constructor(canvas) {
    this.#canvas = canvas;
    this.#draw = canvas.getContext("2d");
    this.#readColors();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#readColors());
  }

  #readColors() {
    const style = getComputedStyle(document.documentElement);
    const names = ["floor", "grid", "wall", "steel", "steel-edge", "warn", "coin", "coin-edge", "guard", "guard-ink", "label", "card", "accent"];
    for (const name of names) this.#colors[name] = style.getPropertyValue(`--${name}`).trim();
    for (let seat = 0; seat < SEAT_COLORS; seat++) this.#colors[seat] = style.getPropertyValue(seatColor(seat)).trim();
  }

  // place is where on the board a pointer is.
  place(e) {
    const box = this.#canvas.getBoundingClientRect();
    return { x: (e.clientX - box.left) / box.width * WIDTH, y: (e.clientY - box.top) / box.height * HEIGHT };
  }

  // effect shows for a moment what has happened to the player of a seat.
  effect(seat, text) {
    const at = this.#bodies.get(`at.${seat}`);
    if (at) this.#effects.push({ x: at.x, y: at.y, text, seat, began: performance.now() });
  }

  // draw shows state, a Map of the room's keys, at a tick that may have a fraction.
  draw(state, tick, mine) {
    const now = performance.now();
    const share = 1 - Math.exp(-(now - this.#last) / SMOOTH);
    this.#last = now;
    this.#fit();
    this.#floor();
    this.#forget(state);
    for (const [key, value] of state) if (key.startsWith("coin.")) this.#coin(value, now);
    if (state.has("bar")) this.#bar(state.get("bar"), tick);
    for (const [key, value] of state) if (key.startsWith("guard.")) this.#guard(this.#walk(key, value, share), value);
    for (const [key, value] of state) {
      if (!key.startsWith("at.")) continue;
      const seat = Number(key.slice(3));
      this.#player(this.#walk(key, value, share), seat, state.get(`who.${seat}`)?.user ?? "", seat === mine);
    }
    this.#drawEffects(now);
  }

  // fit gives the canvas as many dots as the screen has for it.
  #fit() {
    const dots = Math.round(this.#canvas.clientWidth * devicePixelRatio);
    const lines = Math.round(dots * HEIGHT / WIDTH);
    if (this.#canvas.width !== dots || this.#canvas.height !== lines) {
      this.#canvas.width = dots;
      this.#canvas.height = lines;
    }
    this.#letters = Math.max(LETTERS, (LETTERS - 1) * WIDTH / Math.max(1, this.#canvas.clientWidth));
    this.#draw.setTransform(dots / WIDTH, 0, 0, dots / WIDTH, 0, 0);
  }

  #forget(state) {
    for (const key of this.#bodies.keys()) if (!state.has(key)) this.#bodies.delete(key);
  }

  // walk brings what is shown of a body nearer to where it is.
  #walk(key, [x, y], share) {
    let b = this.#bodies.get(key);
    if (!b || Math.hypot(x - b.x, y - b.y) > JUMP) this.#bodies.set(key, b = { x, y });
    b.x += (x - b.x) * share;
    b.y += (y - b.y) * share;
    return b;
  }

  #floor() {
    const d = this.#draw;
    d.fillStyle = this.#colors.floor;
    d.fillRect(0, 0, WIDTH, HEIGHT);
    d.strokeStyle = this.#colors.grid;
    d.lineWidth = 1;
    d.beginPath();
    for (let x = 40; x < WIDTH; x += 40) { d.moveTo(x, 0); d.lineTo(x, HEIGHT); }
    for (let y = 40; y < HEIGHT; y += 40) { d.moveTo(0, y); d.lineTo(WIDTH, y); }
    d.stroke();
  }

  #circle(x, y, r) {
    this.#draw.beginPath();
    this.#draw.arc(x, y, r, 0, 2 * Math.PI);
  }

  #coin([x, y], now) {
    const d = this.#draw;
    const glint = Math.abs(Math.cos(now / 600 + x)); // it turns about itself
    d.fillStyle = this.#colors.coin;
    d.strokeStyle = this.#colors["coin-edge"];
    d.lineWidth = 1.5;
    d.beginPath();
    d.ellipse(x, y, COIN * (0.35 + 0.65 * glint), COIN, 0, 0, 2 * Math.PI);
    d.fill();
    d.stroke();
  }

  #bar({ angle, turn, since }, tick) {
    const d = this.#draw;
    const warns = tick - since > BAR_PERIOD - BAR_WARNING;
    d.save();
    d.translate(WIDTH / 2, HEIGHT / 2);
    d.strokeStyle = this.#colors.grid;
    d.lineWidth = 2;
    d.setLineDash([4, 6]);
    this.#circle(0, 0, BAR_REACH);
    d.stroke();
    d.setLineDash([]);
    d.rotate(2 * Math.PI * (angle + turn * Math.max(0, tick - since)) / BAR_ANGLES);
    d.fillStyle = this.#colors.steel;
    d.strokeStyle = this.#colors["steel-edge"];
    d.lineWidth = 1.5;
    d.beginPath();
    d.roundRect(-BAR_REACH, -BAR_SIZE, 2 * BAR_REACH, 2 * BAR_SIZE, BAR_SIZE);
    d.fill();
    d.stroke();
    d.fillStyle = warns && Math.floor(tick / 5) % 2 === 0 ? this.#colors.warn : this.#colors["steel-edge"];
    this.#arrows(turn);
    this.#circle(0, 0, BAR_SIZE + 4);
    d.fill();
    d.restore();
  }

  // arrows on either end say which way the bar turns.
  #arrows(turn) {
    const d = this.#draw;
    for (const end of [-1, 1]) {
      for (const at of [0.55, 0.72, 0.89]) {
        const x = end * at * BAR_REACH;
        d.beginPath();
        d.moveTo(x - 5, -end * turn * 3);
        d.lineTo(x, end * turn * 4);
        d.lineTo(x + 5, -end * turn * 3);
        d.closePath();
        d.fill();
      }
    }
  }

  #shadow(x, y, r) {
    const d = this.#draw;
    d.fillStyle = "#000";
    d.globalAlpha = 0.13;
    d.beginPath();
    d.ellipse(x, y + r, r * 0.95, r * 0.32, 0, 0, 2 * Math.PI);
    d.fill();
    d.globalAlpha = 1;
  }

  // guard is a ghost that looks to where it walks.
  #guard({ x, y }, [toX, toY]) {
    const d = this.#draw;
    this.#shadow(x, y + 2, GUARD);
    d.fillStyle = this.#colors.guard;
    d.beginPath();
    d.arc(x, y - 1, GUARD, Math.PI, 0);
    d.lineTo(x + GUARD, y + GUARD);
    for (let i = 1; i <= 4; i++) d.lineTo(x + GUARD - i * GUARD / 2, y + GUARD - (i % 2) * 4);
    d.closePath();
    d.fill();
    const way = Math.atan2(toY - y, toX - x);
    const far = Math.min(2, Math.hypot(toX - x, toY - y));
    for (const side of [-4, 4]) {
      d.fillStyle = "#fff";
      this.#circle(x + side, y - 2, 3.4);
      d.fill();
      d.fillStyle = "#1e1033";
      this.#circle(x + side + far * Math.cos(way) * 0.8, y - 2 + far * Math.sin(way) * 0.8, 1.7);
      d.fill();
    }
  }

  #player({ x, y }, seat, user, mine) {
    const d = this.#draw;
    const color = this.#colors[seat % SEAT_COLORS];
    if (mine) {
      d.fillStyle = color;
      d.globalAlpha = 0.2;
      this.#circle(x, y, PLAYER + 7);
      d.fill();
      d.globalAlpha = 1;
    }
    this.#shadow(x, y, PLAYER);
    d.fillStyle = color;
    d.strokeStyle = this.#colors.card;
    d.lineWidth = 2;
    this.#circle(x, y, PLAYER);
    d.fill();
    d.stroke();
    d.fillStyle = this.#colors.card;
    this.#text(user.slice(0, 1).toUpperCase(), x, y + 0.5, 11);
    const name = mine ? "you" : user.length > 16 ? `${user.slice(0, 15)}…` : user;
    d.lineWidth = 3;
    d.strokeStyle = this.#colors.floor;
    d.fillStyle = this.#colors.label;
    const away = PLAYER + 4 + this.#letters / 2;
    this.#text(name, x, y < 3 * PLAYER + this.#letters ? y + away : y - away, this.#letters, true);
  }

  #text(text, x, y, size, outlined) {
    const d = this.#draw;
    d.font = `600 ${size}px system-ui, sans-serif`;
    d.textAlign = "center";
    d.textBaseline = "middle";
    const half = d.measureText(text).width / 2;
    const inside = Math.min(Math.max(x, half + 3), WIDTH - half - 3);
    d.lineJoin = "round";
    if (outlined) d.strokeText(text, inside, y);
    d.fillText(text, inside, y);
  }

  #drawEffects(now) {
    const d = this.#draw;
    this.#effects = this.#effects.filter((e) => now - e.began < EFFECT);
    for (const { x, y, text, seat, began } of this.#effects) {
      const age = (now - began) / EFFECT;
      d.globalAlpha = 1 - age;
      d.strokeStyle = d.fillStyle = this.#colors[seat % SEAT_COLORS];
      d.lineWidth = 2;
      this.#circle(x, y, PLAYER + 26 * age);
      d.stroke();
      d.strokeStyle = this.#colors.floor;
      d.lineWidth = 3;
      this.#text(text, x, y - 24 - 18 * age, this.#letters + 2, true);
      d.globalAlpha = 1;
    }
  }
}
