// The right player: a person with keys, a mouse or a finger; or the scripted rule, when they would rather watch.

import { DOWN, STOP, UP } from "./field.js";

const KEYS = { ArrowUp: UP, KeyW: UP, ArrowDown: DOWN, KeyS: DOWN };

export class Person {
  constructor(canvas, height) {
    this.held = []; // keys, the newest last
    this.mark = null; // where a pointer wants the paddle's middle
    this.watches = false;
    addEventListener("keydown", (event) => this.press(event));
    addEventListener("keyup", (event) => this.release(event));
    addEventListener("blur", () => (this.held = []));
    canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
    canvas.addEventListener("pointermove", (event) => {
      const box = canvas.getBoundingClientRect();
      this.mark = ((event.clientY - box.top) / box.height) * height;
    });
  }

  press(event) {
    if (!(event.code in KEYS) || event.target.closest?.("select, input")) return;
    event.preventDefault();
    this.mark = null;
    if (!this.held.includes(event.code)) this.held.push(event.code);
  }

  release(event) {
    this.held = this.held.filter((code) => code !== event.code);
  }

  move(field) {
    if (this.watches) return field.scripted();
    if (this.held.length) return KEYS[this.held.at(-1)];
    return this.mark === null ? STOP : field.towards(field.right_y, this.mark);
  }
}
