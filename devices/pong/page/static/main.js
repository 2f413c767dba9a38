// The game: steps at their pace, the page around them, and what is said when the key may not play.

import { idText } from "./codec.js";
import { reasonText, grantCommand, showGone, showKeyless, showRefusal } from "./door.js";
import { $, el, put, timeText } from "./dom.js";
import { Field } from "./field.js";
import { Gateway, Refusal } from "./gateway.js";
import { forgetKey, ownKey } from "./key.js";
import { Model } from "./model.js";
import { Person } from "./person.js";
import { Picture } from "./picture.js";

const AGAIN = 1500; // milliseconds until a refused key tries again
const LOOK = 5000; // milliseconds between looks at which versions there are
const PAUSE = 1200; // milliseconds after a goal
const EVENTS = 40;

const setup = await (await fetch("/setup")).json();
const { figures } = setup;
const stepLength = figures.step * 1000;
const offset = setup.time - Date.now() / 1000;
const now = () => Math.floor(Date.now() / 1000 + offset);

let field = new Field(figures);
let before = { ...field };
let state = "closed"; // or "ready", "playing", "paused", "goal"
let number = 0; // of the step
let due = 0; // when the next step is
let rally = 0;
let played = false;
let closedBy = null; // the code of the refusal that is shown
const goals = { left: 0, right: 0 };

// What is shown -----------------------------------------------------------------------------------------------------

const heard = {
  moved() {
    const { counts } = model;
    const median = model.median();
    $("latency").textContent = `${median.toFixed(0)} ms median, ${model.latencies[0].toFixed(0)} ms last`;
    $("answers").textContent = counts.answers;
    $("defaults").textContent = counts.defaults;
    $("explanation").hidden = !model.explanation;
    $("explanation").textContent = `The last default: ${model.explanation}`;
  },

  "took over"({ before: old, by }) {
    const [name, version] = by.split("/");
    $("mover-name").textContent = name;
    $("mover-version").textContent = `version ${version}`;
    $("left-name").textContent = `${name} ${version}`;
    $("mover").classList.remove("new");
    void $("mover").offsetWidth; // lets the animation begin anew
    $("mover").classList.add("new");
    tell(old === null ? `version ${version} plays` : `version ${version} took over from version ${old.split("/")[1]}`, "new");
    listVersions();
  },

  refused(refusal) {
    if (state === "closed") return;
    tell(`refused: ${reasonText(refusal.problem)}`, "refused");
    close(refusal);
  },

  gone(error) {
    if (state === "closed") return;
    tell("the gateway does not answer any more", "refused");
    close(error);
  },
};

function tell(text, kind = "") {
  $("events").prepend(el("li", { class: kind }, el("time", {}, timeText(now())), el("span", {}, text)));
  while ($("events").childElementCount > EVENTS) $("events").lastElementChild.remove();
}

function steps(count) {
  return count === 1 ? "1 step" : `${count} steps`;
}

function showCounts() {
  $("late").textContent = model.counts.late;
  $("rally").textContent = steps(rally);
  $("left-goals").textContent = goals.left;
  $("right-goals").textContent = goals.right;
}

function enter(next) {
  state = next;
  document.body.dataset.state = next;
  $("serve").textContent = { playing: "Pause", paused: "Go on", goal: "Serve" }[next] ?? "Serve";
  $("serve").disabled = next === "goal" || next === "closed";
}

// Who may play ------------------------------------------------------------------------------------------------------

// Show why the key may not play, and try again. What has ended a game stays on show while there is just no proof.
function close(error) {
  enter("closed");
  setTimeout(knock, AGAIN);
  const code = error instanceof Refusal ? error.problem.code : "gone";
  if (code === closedBy || (closedBy !== null && closedBy !== "gone" && code === "proof.none")) return;
  closedBy = code;
  $("room").hidden = !played;
  $("door").hidden = false;
  $("stopped").hidden = !played;
  if (error instanceof Refusal) {
    showRefusal($("door"), error, idText(key.id), played);
    $("stopped").textContent = `The game has stopped. ${error.status} ${reasonText(error.problem)} (${error.problem.code})`;
  } else {
    showGone($("door"), setup.gateway);
    $("stopped").textContent = "The game has stopped: the gateway does not answer.";
  }
}

async function knock() {
  try {
    model.take(number, await model.answer(field.observation()));
  } catch (error) {
    close(error);
    return;
  }
  if (played) tell("the key may play again", "new");
  played = true;
  closedBy = null;
  $("door").hidden = $("stopped").hidden = true;
  $("room").hidden = false;
  picture.sharpen();
  enter("ready");
  listVersions();
}

async function listVersions() {
  if (model.name === null) return;
  const select = $("version");
  const note = $("version-note");
  try {
    const versions = await model.versions();
    if (document.activeElement !== select || select.options.length !== versions.length + 1) {
      const options = versions.map((one) => el("option", { value: one }, `version ${one}${one === model.version && model.chosen === null ? " (current)" : ""}`));
      put(select, el("option", { value: "" }, "whichever version is current"), ...options);
      select.value = model.chosen ?? "";
    }
    note.hidden = true;
  } catch (error) {
    if (error instanceof Refusal) showPickerNote(error);
  }
}

function showPickerNote(error) {
  if (!error.wanted) return;
  const rights = [["predict", `models/${model.name}/*`]];
  put($("version-note"), "To choose among versions, the key has to have:", grantCommand(error.wanted, idText(key.id), rights));
  $("version-note").hidden = false;
}

async function pick(version) {
  try {
    await model.choose(version, field.observation());
    tell(version === null ? "you play against whichever version is current" : `you chose version ${version}`);
  } catch (error) {
    if (error instanceof Refusal) tell(`version ${version}: ${reasonText(error.problem)}`, "refused");
    $("version").value = model.chosen ?? "";
  }
}

// The game ----------------------------------------------------------------------------------------------------------

function serve() {
  const { ball_radius, height, serve_rise } = figures;
  field = new Field(figures, ball_radius + Math.random() * (height - 2 * ball_radius), (2 * Math.random() - 1) * serve_rise);
  rally = 0;
  begin();
}

function begin() {
  before = { ...field };
  number += 1;
  due = performance.now() + stepLength;
  model.ask(number, field.observation());
  enter("playing");
}

function step() {
  const left = model.move(number);
  before = { ...field };
  const missed = field.step(left, person.move(field));
  number += 1;
  if (missed === null) {
    rally += 1;
    model.ask(number, field.observation());
  } else {
    goals[missed === "left" ? "right" : "left"] += 1;
    tell(`${missed === "left" ? "your goal" : "the model's goal"}, after ${steps(rally)}`);
    enter("goal");
    setTimeout(() => state === "goal" && serve(), PAUSE);
  }
  showCounts();
}

function frame(time) {
  if (state === "playing" && time - due > 10 * stepLength) due = time; // the page was asleep
  while (state === "playing" && time >= due) {
    due += stepLength;
    step();
  }
  const share = state === "playing" ? Math.min(1, Math.max(0, 1 - (due - time) / stepLength)) : 1;
  const over = { ready: "Press space to serve", paused: "Paused", goal: "Goal", closed: "Stopped" }[state];
  if (played) picture.draw(before, field, share, { left: model.by?.replace("/", " ") ?? "", right: person.watches ? "the rule" : "you" }, over);
  requestAnimationFrame(frame);
}

function press() {
  if (state === "ready") serve();
  else if (state === "playing") enter("paused");
  else if (state === "paused") begin();
}

// Everything together -----------------------------------------------------------------------------------------------

$("serve").addEventListener("click", press);
addEventListener("keydown", (event) => {
  if (event.code !== "Space" || event.target.closest?.("button, select, input, dialog")) return;
  event.preventDefault();
  press();
});
document.addEventListener("visibilitychange", () => document.hidden && state === "playing" && enter("paused"));
$("watch").addEventListener("change", () => (person.watches = $("watch").checked));
$("version").addEventListener("change", () => pick($("version").value || null));
$("key").addEventListener("click", () => $("key-room").showModal());
$("key-close").addEventListener("click", () => $("key-room").close());
$("key-renew").addEventListener("click", async () => {
  await forgetKey();
  location.reload();
});

const key = await ownKey(now()).catch(() => null);
const picture = new Picture($("field"), figures);
const person = new Person($("field"), figures.height);
const model = key && new Model(new Gateway(setup.gateway, key, now), setup.app, (kind, detail) => heard[kind](detail));

if (key) {
  $("key-name").textContent = `key ${idText(key.id).slice(0, 8)}…`;
  $("key-id").textContent = idText(key.id);
  enter("closed");
  await knock();
  setInterval(() => state !== "closed" && !document.hidden && listVersions(), LOOK);
  requestAnimationFrame(frame);
} else {
  $("door").hidden = false;
  showKeyless($("door"));
}
