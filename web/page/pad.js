// What one draws on: by pointer, finger, or keys.

/** Of the pad's side: the pen's width, and a step by key. */
const PEN = 0.075;
const STEP = 1 / 24;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Strokes on a canvas, in units of its side. */
export class Pad {
  strokes = [];
  /** Whether nothing may be drawn now. */
  locked = false;
  #canvas;
  #changed;
  /** Where the keyboard's pen is, and whether it writes. */
  #cursor = [0.5, 0.25];
  #down = false;
  /** The pointer that draws. */
  #pointer;

  /** `changed(what)`: `what` is 'ink', 'up', 'down' or 'clear'. */
  constructor(canvas, changed) {
    this.#canvas = canvas;
    this.#changed = changed;
    canvas.addEventListener('pointerdown', (event) => this.#touch(event));
    canvas.addEventListener('pointermove', (event) => this.#move(event));
    for (const end of ['pointerup', 'pointercancel']) canvas.addEventListener(end, () => (this.#pointer = undefined));
    canvas.addEventListener('keydown', (event) => this.#key(event));
    for (const turn of ['focus', 'blur']) canvas.addEventListener(turn, () => this.draw());
    // Its pixels are the screen's, whatever its size there.
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  clear() {
    if (this.locked) return;
    this.set([]);
    this.#changed('clear');
  }

  set(strokes) {
    this.strokes = strokes;
    this.#down = false;
    this.draw();
  }

  draw() {
    const side = Math.max(1, Math.round(this.#canvas.clientWidth * devicePixelRatio));
    if (this.#canvas.width !== side) [this.#canvas.width, this.#canvas.height] = [side, side];
    const context = this.#canvas.getContext('2d');
    context.clearRect(0, 0, side, side);
    context.strokeStyle = getComputedStyle(this.#canvas).color;
    context.lineWidth = PEN * side;
    context.lineCap = context.lineJoin = 'round';
    if (this.strokes.length === 0) this.#invite(context, side);
    for (const stroke of this.strokes) {
      context.beginPath();
      stroke.forEach(([x, y], i) => context[i === 0 ? 'moveTo' : 'lineTo'](x * side, y * side));
      if (stroke.length === 1) context.lineTo(stroke[0][0] * side, stroke[0][1] * side);
      context.stroke();
    }
    if (this.#canvas.matches(':focus-visible')) this.#drawCursor(context, side);
  }

  #invite(context, side) {
    context.fillStyle = context.strokeStyle;
    context.globalAlpha = 0.55;
    context.font = `${side / 14}px system-ui, sans-serif`;
    context.textAlign = 'center';
    context.fillText('Draw here', side / 2, side / 2);
    context.globalAlpha = 1;
  }

  #drawCursor(context, side) {
    const [x, y] = this.#cursor.map((v) => v * side);
    context.lineWidth = Math.max(2, side / 140);
    context.beginPath();
    context.arc(x, y, (PEN / 2) * side, 0, 2 * Math.PI);
    context.strokeStyle = getComputedStyle(this.#canvas).outlineColor;
    context.stroke();
    if (!this.#down) return;
    context.fillStyle = context.strokeStyle;
    context.fill();
  }

  #touch(event) {
    if (this.locked || this.#pointer !== undefined || event.button !== 0) return;
    this.#pointer = event.pointerId;
    this.#canvas.setPointerCapture(event.pointerId);
    this.#start(this.#place(event));
  }

  #move(event) {
    if (this.locked || event.pointerId !== this.#pointer) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length > 0 ? events : [event]) this.#extend(this.#place(each));
  }

  #place({ clientX, clientY }) {
    const box = this.#canvas.getBoundingClientRect();
    return [(clientX - box.left) / box.width, (clientY - box.top) / box.height].map(within);
  }

  #key(event) {
    if (this.locked || event.ctrlKey || event.metaKey || event.altKey) return;
    const arrow = ARROWS[event.key];
    if (arrow) this.#steer(arrow);
    else if (event.key === ' ') this.#toggle();
    else if (event.key === 'Delete' || event.key === 'Backspace') this.clear();
    else return;
    event.preventDefault();
  }

  #steer(arrow) {
    this.#cursor = this.#cursor.map((v, axis) => within(v + STEP * arrow[axis]));
    if (this.#down) this.#extend(this.#cursor);
    else this.draw();
  }

  #toggle() {
    this.#down = !this.#down;
    if (this.#down) this.#start(this.#cursor);
    else this.draw();
    this.#changed(this.#down ? 'down' : 'up');
  }

  #start(point) {
    this.strokes.push([point]);
    this.draw();
    this.#changed('ink');
  }

  #extend(point) {
    this.strokes.at(-1).push(point);
    this.draw();
    this.#changed('ink');
  }
}

function within(v) {
  return Math.min(1, Math.max(0, v));
}
