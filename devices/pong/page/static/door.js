// What stands in the game's place while the key may not play: who refused, why, and what would help.

import { el, put } from "./dom.js";

export function reasonText(problem) {
  return [problem.detail, problem.hint].filter(Boolean).map((one) => `${one[0].toUpperCase()}${one.slice(1)}.`).join(" ");
}

function codeText({ status, problem }) {
  return [status, problem.code, problem.decision && `decision ${problem.decision.slice(0, 12)}`].filter(Boolean).join(" · ");
}

function command(text) {
  const copy = el("button", { type: "button", class: "quiet", onclick: () => navigator.clipboard?.writeText(text) }, "Copy");
  return el("div", { class: "command" }, el("pre", {}, text), copy);
}

const WORD = /^[A-Za-z0-9_.:*/-]+$/;

// Return what the namespace's owner runs to grant these rights, by the name that the namespace has here. Gateways name
// resources, and models; what is no plain word gets into no command.
export function grantCommand({ name, namespace }, key, rights) {
  if (![name || namespace, ...rights.flat()].every((one) => WORD.test(one))) {
    return el("p", { class: "refused" }, "What the gateway asks for is no right that could be granted.");
  }
  const quoted = rights.map(([permission, resource]) => `'${permission}@${name || namespace}/${resource}'`);
  return command(`wave grant --from ${name || "OWNER"}.ent --to ${key} ${quoted.join(" ")}`);
}

// Show a refusal: the gateway's, or that of the page's own server, which found no proof.
export function showRefusal(place, refusal, key, played) {
  const { wanted, problem } = refusal;
  put(
    place,
    el("h2", {}, played ? "This browser's key may not play here any more" : "This browser's key may not play here yet"),
    wanted && !played
      ? el("p", {}, "The gateway lets nobody ask without a proof: ", el("span", { class: "refused" }, reasonText(wanted.problem)), el("span", { class: "code" }, codeText({ status: 401, problem: wanted.problem })))
      : null,
    el("p", { class: "refused", id: "reason" }, el("strong", {}, "Refused. "), reasonText(problem), el("span", { class: "code" }, codeText(refusal))),
    wanted ? el("p", {}, "Whoever holds the namespace's key, or may hand the right on, runs:") : null,
    wanted ? grantCommand(wanted, key, wanted.rights) : null,
    el("p", { class: "muted" }, "It is tried again by itself, and the game goes on as soon as it may."),
    el("p", { class: "muted" }, "This browser's key:"),
    el("p", { class: "code" }, key),
  );
}

export function showGone(place, gateway) {
  put(
    place,
    el("h2", {}, "The gateway does not answer this page"),
    el("p", { class: "refused", id: "reason" }, `Nothing came from ${gateway}. Either it does not run, or it does not let pages of this origin ask.`),
    el("p", {}, "It is to be started with:"),
    command(`wave gateway run GATEWAY.toml --origin ${location.origin}`),
    el("p", { class: "muted" }, "It is tried again by itself."),
  );
}

export function showKeyless(place) {
  put(
    place,
    el("h2", {}, "This browser cannot have a key here"),
    el("p", {}, "Browsers give keys to pages from this computer itself, or that come over https; and they need Ed25519, as the releases of the last years have it."),
  );
}
