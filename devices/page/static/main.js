// The page: who is here, the tiles, and for the owner the rooms behind.

import { $, el, put, untilText } from "./dom.js";
import { forgetKey } from "./key.js";
import { Live } from "./live.js";
import { OwnerRooms } from "./owner.js";
import { tileFor } from "./tiles.js";
import { rightWords } from "./words.js";

const tiles = new Map();
const secret = new URLSearchParams(location.hash.slice(1));
let invitation = secret.get("invite");
let rooms = null;
let owns = false;
let you = null;
let knocked = false;
let joined = false;

addEventListener("hashchange", () => location.reload());
if (location.hash) history.replaceState(null, "", location.pathname);

function tell(text, kind = "") {
  const note = el("p", { class: kind }, text);
  $("toasts").append(note);
  setTimeout(() => note.remove(), 6000);
}

function problemShown(problem) {
  return [problem.detail, problem.hint ? `${problem.hint}.` : ""].filter(Boolean).join(". ");
}

function room(name) {
  for (const button of document.querySelectorAll("nav button")) button.setAttribute("aria-current", button.dataset.room === name ? "page" : "false");
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== name;
}

for (const button of document.querySelectorAll("nav button")) button.addEventListener("click", () => room(button.dataset.room));

async function becomeOwner(token) {
  const answer = await fetch("/owner", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ token }) });
  if (!answer.ok) tell(problemShown(await answer.json()), "refused");
}

const handlers = {
  hello(hello) {
    document.title = `${hello.home} · WAVE`;
    $("home-name").textContent = hello.home;
    owns = hello.owner;
    $("offline").hidden = true;
    document.body.classList.toggle("owner", owns);
    for (const one of document.querySelectorAll("[data-owner]")) one.hidden = !owns;
    if (hello.stale) tell("The owner's session is over. Open the owner's link that 'wave home ui' prints to have a new one.");
    if (owns && rooms) rooms.entries = [];
    if (invitation && !joined) join();
  },

  keyless(hello) {
    $("home-name").textContent = hello.home;
    put(
      $("door-step"),
      el("h2", {}, "This browser cannot have a key here"),
      el("p", {}, "Browsers give keys to pages that come over https, or from this computer itself, and to no others; and they need Ed25519, as the releases of the last years have it."),
    );
    $("door-step").hidden = false;
  },

  turned_away({ problem }) {
    put($("door-step"), el("h2", {}, "This key is turned away"), el("p", { class: "refused" }, problemShown(problem)), el("button", { type: "button", onclick: renew }, "Make a new key"));
    $("door-step").hidden = false;
  },

  offline() {
    $("offline").hidden = false;
  },

  you(message) {
    you = message;
    rooms.own = message.id;
    $("key-name").textContent = message.name || `key ${message.id.slice(0, 8)}…`;
    showKey();
    showDoor();
  },

  devices({ devices, trouble }) {
    $("trouble").hidden = !trouble;
    $("trouble").textContent = trouble ? `The page hears nothing of the home: ${trouble}` : "";
    const there = new Set(devices.map((device) => device.path));
    for (const [path, tile] of tiles) {
      if (!there.has(path)) {
        tile.element.remove();
        tiles.delete(path);
      }
    }
    for (const device of devices) {
      if (!tiles.has(device.path)) {
        const tile = tileFor(device.path, (where, value) => live.command(where, value));
        tiles.set(device.path, tile);
        $("tiles").append(tile.element);
        tile.show();
      }
      tiles.get(device.path).allow(device);
    }
    showDoor();
  },

  state(message) {
    tiles.get(message.path)?.take(message);
  },

  denied({ device, problem }) {
    const tile = [...tiles.values()].find((one) => one.name === device);
    if (tile) tile.refuse(problem);
    else tell(`${device}: ${problem.detail}`, "refused");
  },
};

function heard(kind, message) {
  if (handlers[kind]) handlers[kind](message);
  else rooms?.heard(kind, message);
}

async function join() {
  joined = true;
  try {
    const terms = await live.ask("join", { code: invitation });
    tell(`Welcome${terms.name ? `, ${terms.name}` : ""}. This browser's key may now ${terms.verb} ${terms.device ? terms.device.split("/")[1] : "the home"}, ${untilText(terms.until)}.`);
  } catch (error) {
    tell(problemShown(error.problem), "refused");
  }
  invitation = null;
}

async function renew() {
  await forgetKey();
  location.reload();
}

function showKey() {
  put(
    $("key-about"),
    el("p", {}, "This browser made the key by itself and never gives it out. What it may do here, somebody has granted to it:"),
    you.rights.length
      ? el("ul", {}, you.rights.map((one) => el("li", {}, rightWords(one.permission, one.pattern), el("span", { class: "muted" }, ` ${[untilText(one.until), ...one.conditions].join(" · ")}`))))
      : el("p", { class: "muted" }, "Nothing yet."),
    el("p", { class: "code" }, you.id),
  );
}

async function showDoor() {
  const step = $("door-step");
  if (!you) return;
  if (tiles.size) {
    step.hidden = true;
    step.dataset.for = "";
    return;
  }
  if (step.dataset.for === you.id && !step.hidden) return;
  step.dataset.for = you.id;
  step.hidden = false;
  const name = el("input", { type: "text", maxlength: 60, placeholder: "Your name", "aria-label": "Your name", value: "" });
  const reason = el("p", { class: "refused", id: "door-reason" });
  put(
    step,
    el("h2", {}, owns ? "This browser's key may nothing here yet" : "You are at the door"),
    el("p", {}, owns ? "You are the owner, and this browser has a key of its own like anybody's. Let it in:" : "This browser has a key of its own, and nobody has granted anything to it yet. So nothing of the home is shown."),
    reason,
    owns
      ? el("button", { type: "button", class: "main", onclick: () => rooms.openShare({ id: you.id, name: "", asks: "my browser" }, "") }, "Let this browser in…")
      : el("form", { class: "row", onsubmit: (event) => knock(event, name) }, name, el("button", { class: "main" }, knocked ? "Knocked" : "Ask to be let in")),
    el("p", { class: "muted" }, "Your key, for whoever lets you in:"),
    el("p", { class: "code" }, you.id),
  );
  try {
    await live.ask("see");
  } catch (error) {
    if (step.dataset.for !== you.id) return;
    put(reason, el("strong", {}, "Refused. "), problemShown(error.problem), el("span", { class: "code" }, [error.problem.code, error.problem.decision && `decision ${error.problem.decision.slice(0, 12)}`].filter(Boolean).join(" · ")));
  }
}

async function knock(event, name) {
  event.preventDefault();
  await live.ask("knock", { name: name.value });
  knocked = true;
  event.submitter.textContent = "Knocked. The owner sees you";
}

$("key").addEventListener("click", () => $("key-room").showModal());
$("key-renew").addEventListener("click", renew);

if (secret.get("owner")) await becomeOwner(secret.get("owner"));
const live = new Live(heard);
rooms = new OwnerRooms(live, tell);
