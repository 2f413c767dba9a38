// A tile for each device: what it says, and controls that act with the visitor's own key.

import { cut, el, svg, timeText, untilText } from "./dom.js";
import { rightWords } from "./words.js";

const COLDEST = 40;
const HOTTEST = 95;

const KINDS = { "s.light": "Light", "s.switch": "Switch", "s.thermostat": "Thermostat", "s.motion": "Motion", "s.notifier": "Messages" };

class Tile {
  constructor(path, act) {
    this.path = path;
    this.service = path.split("/")[0];
    this.name = path.split("/")[1];
    this.act = act;
    this.may = {};
    this.see = false;
    this.values = {};
    this.state = el("p", { class: "state" }, "…");
    this.refusal = el("div", { class: "refusal", role: "alert" });
    this.foot = el("p", { class: "foot" });
    this.body = el("div", { class: "body" });
    this.element = el(
      "article",
      { class: `tile ${this.service.replace(".", "-")}`, "aria-label": `${KINDS[this.service] ?? "Device"} ${this.name}`, "data-path": path },
      el("header", {}, el("h3", {}, cut(this.name, 32)), el("span", { class: "kind" }, KINDS[this.service] ?? this.service)),
      this.state,
      this.body,
      this.refusal,
      this.foot,
    );
    this.build();
  }

  build() {
    this.raw = el("pre", {});
    this.body.append(this.raw);
  }

  show() {
    this.raw.textContent = JSON.stringify(this.values, null, 1);
    this.state.textContent = "";
  }

  allow(device) {
    this.may = device.may;
    this.see = device.see;
    this.element.classList.toggle("blind", !this.see);
    const held = Object.values(this.may).filter(Boolean);
    const terms = held.length ? Math.min(...held.map((one) => one.until)) : null;
    const conditions = [...new Set(held.flatMap((one) => one.conditions))];
    this.until = terms ? [untilText(terms), ...conditions].join(" · ") : "you may look, not touch";
    for (const one of this.element.querySelectorAll("[data-slot]")) {
      one.classList.toggle("locked", !this.may[one.dataset.slot]);
      one.title = this.may[one.dataset.slot] ? "" : "your key has no right to this";
    }
    if (!this.see) this.state.textContent = "not yours to see";
    this.tellFoot();
  }

  tellFoot() {
    this.foot.replaceChildren(
      this.see && this.said ? el("span", {}, this.said) : el("span", {}, ""),
      el("span", { class: "until" }, this.until ?? ""),
    );
  }

  take(message) {
    this.values[message.signal] = message.value;
    this.said = timeText(message.at);
    this.show();
    this.tellFoot();
  }

  value(signal) {
    const found = this.values[signal];
    return found && typeof found === "object" ? found : {};
  }

  async command(slot, value) {
    this.element.setAttribute("aria-busy", "true");
    try {
      await this.act(`${this.path}/${slot}`, value);
      this.refusal.replaceChildren();
    } catch (error) {
      this.refuse(error.problem ?? { detail: String(error), code: "page" }, slot);
    }
    this.element.removeAttribute("aria-busy");
    if (this.see) this.show();
  }

  refuse(problem, slot = null) {
    const plainly = slot && problem.code === "proof.none" ? `Your key may not ${rightWords("publish", `${this.path}/${slot}`)}. ` : "";
    this.refusal.replaceChildren(
      el("strong", {}, `Refused. ${plainly}`),
      el("span", {}, problem.detail),
      problem.hint ? el("span", { class: "hint" }, `; ${problem.hint}.`) : "",
      el("span", { class: "code" }, [problem.code, problem.decision && `decision ${problem.decision.slice(0, 12)}`].filter(Boolean).join(" · ")),
    );
  }
}

function toggle(tile, slot, label) {
  const button = el(
    "button",
    { type: "button", class: "toggle", role: "switch", "aria-checked": "false", "aria-label": label, "data-slot": slot, onclick: () => tile.command(slot, { state: button.getAttribute("aria-checked") === "true" ? "off" : "on" }) },
    el("span", { class: "knob" }),
  );
  return button;
}

class Light extends Tile {
  build() {
    this.bulb = el("div", { class: "bulb", "aria-hidden": "true" });
    this.toggle = toggle(this, "i.boolean/slot/state", `Switch ${this.name}`);
    const slot = "i.dimmer/slot/brightness";
    this.range = el("input", { type: "range", min: 0, max: 100, value: 0, "aria-label": `Brightness of ${this.name}`, "data-slot": slot, onchange: () => this.command(slot, { brightness: Number(this.range.value) }) });
    this.body.append(this.bulb, el("div", { class: "row" }, this.toggle, this.range));
  }

  show() {
    const { state, brightness } = this.value("i.boolean/signal/state");
    const on = state === "on";
    const level = Number.isFinite(brightness) ? Math.min(100, Math.max(0, brightness)) : 0;
    this.state.textContent = state === undefined ? "nothing heard yet" : on ? `On · ${level} %` : "Off";
    this.toggle.setAttribute("aria-checked", String(on));
    if (document.activeElement !== this.range || !this.element.hasAttribute("aria-busy")) this.range.value = String(level);
    this.element.classList.toggle("on", on);
    this.element.style.setProperty("--glow", on ? String(0.25 + (0.75 * level) / 100) : "0");
  }
}

class Switch extends Tile {
  build() {
    this.toggle = toggle(this, "i.boolean/slot/state", `Press ${this.name}`);
    this.body.append(el("div", { class: "row centre" }, this.toggle));
  }

  show() {
    const { state } = this.value("i.boolean/signal/state");
    this.state.textContent = state === undefined ? "nothing heard yet" : state === "on" ? "On" : "Off";
    this.toggle.setAttribute("aria-checked", String(state === "on"));
    this.element.classList.toggle("on", state === "on");
  }
}

function point(degrees, radius) {
  const angle = ((degrees - 90) * Math.PI) / 180;
  return [100 + radius * Math.cos(angle), 96 + radius * Math.sin(angle)];
}

function angleOf(temperature) {
  const part = (Math.min(HOTTEST, Math.max(COLDEST, temperature)) - COLDEST) / (HOTTEST - COLDEST);
  return -130 + 260 * part;
}

function arc(from, to, radius) {
  const [x1, y1] = point(angleOf(from), radius);
  const [x2, y2] = point(angleOf(to), radius);
  const large = angleOf(to) - angleOf(from) > 180 ? 1 : 0;
  return `M${x1.toFixed(2)} ${y1.toFixed(2)} A${radius} ${radius} 0 ${large} 1 ${x2.toFixed(2)} ${y2.toFixed(2)}`;
}

class Thermostat extends Tile {
  build() {
    this.slot = "i.thermostat/slot/state";
    this.band = svg("path", { class: "band" });
    this.cold = svg("path", { class: "cold" });
    this.hot = svg("path", { class: "hot" });
    this.dot = svg("circle", { class: "dot", r: 8 });
    this.number = svg("text", { class: "number", x: 100, y: 100, "text-anchor": "middle" });
    this.doing = svg("text", { class: "doing", x: 100, y: 124, "text-anchor": "middle" });
    this.dial = svg("svg", { class: "dial", viewBox: "0 0 200 172", role: "img" }, svg("path", { class: "track", d: arc(COLDEST, HOTTEST, 78) }), this.cold, this.hot, this.band, this.dot, this.number, this.doing);
    this.set = { hsp: el("output", {}), csp: el("output", {}) };
    this.body.append(this.dial, el("div", { class: "setpoints" }, this.stepper("hsp", "heat to"), this.stepper("csp", "cool to")));
  }

  stepper(key, words) {
    const step = (by) => () => {
      const now = this.value("i.thermostat/signal/state")[key];
      if (Number.isFinite(now)) this.command(this.slot, { [key]: now + by });
    };
    return el(
      "div",
      { class: `stepper ${key}`, role: "group", "aria-label": `${words}, ${this.name}` },
      el("button", { type: "button", "aria-label": `${words}: one degree less`, "data-slot": this.slot, onclick: step(-1) }, "−"),
      el("span", {}, el("small", {}, words), this.set[key]),
      el("button", { type: "button", "aria-label": `${words}: one degree more`, "data-slot": this.slot, onclick: step(1) }, "+"),
    );
  }

  show() {
    const { state, hsp, csp, temperature, occupied } = this.value("i.thermostat/signal/state");
    if (![hsp, csp, temperature].every(Number.isFinite)) {
      this.state.textContent = "nothing heard yet";
      return;
    }
    this.state.textContent = occupied ? "Somebody is in" : "Nobody is in";
    this.element.dataset.mode = ["heating", "cooling"].includes(state) ? state : "off";
    this.cold.setAttribute("d", arc(COLDEST, hsp, 78));
    this.hot.setAttribute("d", arc(csp, HOTTEST, 78));
    this.band.setAttribute("d", arc(hsp, csp, 78));
    const [x, y] = point(angleOf(temperature), 78);
    this.dot.setAttribute("cx", x.toFixed(2));
    this.dot.setAttribute("cy", y.toFixed(2));
    this.number.textContent = `${temperature.toFixed(1)}°`;
    this.doing.textContent = state === "off" ? "idle" : String(state);
    this.dial.setAttribute("aria-label", `${temperature.toFixed(1)} °F, ${state}; heats to ${hsp}, cools to ${csp}`);
    this.set.hsp.textContent = `${hsp}°F`;
    this.set.csp.textContent = `${csp}°F`;
  }
}

class Motion extends Tile {
  build() {
    const slot = "i.motion/slot/package";
    this.pulse = el("div", { class: "pulse", "aria-hidden": "true" }, el("i"), el("i"), el("b"));
    this.body.append(this.pulse, el("div", { class: "row centre" }, el("button", { type: "button", "data-slot": slot, onclick: () => this.command(slot, { package: "delivered" }) }, "A package came")));
  }

  show() {
    const { count, time } = this.value("i.motion/signal/triggered");
    this.state.textContent = Number.isFinite(time) ? `Motion at ${timeText(time)} · ${count} so far` : "All quiet";
    if (Number.isFinite(time) && time !== this.last) {
      this.last = time;
      const recent = Date.now() / 1000 - time < 60;
      this.element.classList.toggle("moved", recent);
      clearTimeout(this.calm);
      this.calm = setTimeout(() => this.element.classList.remove("moved"), 20000);
    }
  }
}

class Notifier extends Tile {
  build() {
    const slot = "i.notifier/slot/note";
    this.list = el("ol", { class: "notes" });
    this.input = el("input", { type: "text", maxlength: 1000, placeholder: "Leave a note", "aria-label": `Note for ${this.name}`, "data-slot": slot });
    const form = el("form", { class: "row", onsubmit: (event) => this.write(event, slot) }, this.input, el("button", { "data-slot": slot }, "Leave"));
    this.body.append(this.list, form);
  }

  async write(event, slot) {
    event.preventDefault();
    if (!this.input.value.trim()) return;
    await this.command(slot, { text: this.input.value.trim() });
    if (!this.refusal.hasChildNodes()) this.input.value = "";
  }

  show() {
    const { count, notes } = this.value("i.notifier/signal/box");
    const newest = Array.isArray(notes) ? notes.slice(-4).reverse() : [];
    this.state.textContent = count ? `${count} ${count === 1 ? "note" : "notes"}` : "No notes";
    this.list.replaceChildren(...newest.map((note) => el("li", {}, el("time", {}, timeText(Number(note?.time) || 0)), el("span", {}, String(note?.text ?? "")))));
  }
}

const CLASSES = { "s.light": Light, "s.switch": Switch, "s.thermostat": Thermostat, "s.motion": Motion, "s.notifier": Notifier };

export function tileFor(path, act) {
  const Kind = CLASSES[path.split("/")[0]] ?? Tile;
  return new Kind(path, act);
}
