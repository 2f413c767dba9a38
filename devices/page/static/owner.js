// What the home's owner does: look at who may do what, take it back, share, let people in, read the decisions.

import { $, cut, el, put, svg, timeText, untilText } from "./dom.js";
import { drawGraph, layers, stateOf, whenText } from "./graph.js";
import { edgeLines, isOwn, rightWords } from "./words.js";

export class OwnerRooms {
  constructor(live, tell) {
    this.live = live;
    this.tell = tell;
    this.entries = [];
    this.graph = null;
    this.own = null; // this browser's own key
    this.sharing = { devices: [], verbs: {} };
    for (const id of ["show-devices", "show-ended"]) $(id).addEventListener("change", () => this.showGraph());
    for (const id of ["log-find", "log-which"]) $(id).addEventListener("input", () => this.showLog());
    $("share-open").addEventListener("click", () => this.openShare());
    $("share-device").addEventListener("change", () => this.fillVerbs());
    $("share-form").addEventListener("submit", (event) => this.share(event));
    $("share-copy").addEventListener("click", () => this.copy());
    for (const button of document.querySelectorAll("dialog [data-close]")) {
      button.addEventListener("click", () => button.closest("dialog").close());
    }
  }

  heard(kind, message) {
    if (kind === "graph") {
      this.graph = message;
      this.showGraph();
      this.showLog();
    } else if (kind === "log") {
      this.entries = [...this.entries, ...message.entries].slice(-500);
      this.showLog();
    } else if (kind === "people") {
      this.showPeople(message.people);
    } else if (kind === "invitations") {
      this.showInvitations(message.invitations);
    } else if (kind === "sharing") {
      this.sharing = message;
    }
  }

  name(id) {
    return this.graph?.nodes.find((node) => node.id === id)?.name ?? id.slice(0, 8);
  }

  // Who may ---------------------------------------------------------------------------------------------------------

  showGraph() {
    if (!this.graph) return;
    const all = this.graph.edges;
    const devices = $("show-devices").checked;
    const ended = $("show-ended").checked;
    const edges = all.filter((edge) => (devices || !(isOwn(edge) || edge.receiver === this.graph.viewer)) && (ended || stateOf(edge) !== "dead"));
    const far = layers(this.graph.namespace, edges);
    edges.sort((one, other) => far.get(one.giver) - far.get(other.giver) || far.get(one.receiver) - far.get(other.receiver));
    const names = (id) => this.name(id);
    drawGraph($("graph"), this.graph, names, edges, (edge) => this.openEdge(edge));
    $("graph-empty").hidden = edges.length > 0;
    put(
      $("edges"),
      edges.map((edge) =>
        el(
          "li",
          { class: stateOf(edge) },
          el("span", { class: "who" }, `${names(edge.giver)} → ${names(edge.receiver)}`),
          el("span", { class: "what" }, edgeLines(edge).join(", ")),
          el("span", { class: "when" }, whenText(edge)),
          stateOf(edge) === "dead" ? null : el("button", { type: "button", class: "quiet", onclick: () => this.openEdge(edge) }, edge.yours ? "Take back…" : "Look…"),
        ),
      ),
    );
  }

  async openEdge(edge) {
    const dialog = $("edge");
    const giver = this.name(edge.giver);
    const takeBack = $("edge-revoke");
    $("edge-title").textContent = `${giver} → ${this.name(edge.receiver)}`;
    put(
      $("edge-about"),
      el("ul", {}, edgeLines(edge).map((line) => el("li", {}, line))),
      el("p", { class: "muted" }, `${whenText(edge)}${edge.comment ? ` · “${edge.comment}”` : ""}`),
      el("p", { class: "code" }, `DoT ${edge.dot}`),
    );
    const living = edge.state === "valid" || edge.state === "not yet valid";
    takeBack.hidden = !(living && edge.yours);
    takeBack.disabled = true;
    put($("edge-losses"), living ? el("p", { class: "muted" }, "Finding out who would lose what…") : null);
    dialog.showModal();
    if (!living) return;
    try {
      const { losses } = await this.live.ask("losses", { dot: edge.dot });
      put($("edge-losses"), this.lossesShown(losses), edge.yours ? null : el("p", { class: "muted" }, `Only ${giver} can take this back.`));
      takeBack.disabled = false;
      takeBack.onclick = () => this.revoke(edge);
    } catch (error) {
      put($("edge-losses"), el("p", { class: "refused" }, `Who would lose what cannot be told: ${error.message}`));
    }
  }

  lossesShown(losses) {
    if (!losses.length) return [el("h4", {}, "Nobody would lose anything"), el("p", { class: "muted" }, "What it gives is held in another way too, or it gives nothing.")];
    const people = new Map();
    for (const loss of losses) people.set(loss.id, [...(people.get(loss.id) ?? []), loss]);
    const right = (one) => rightWords(one.permission, one.pattern) + (one.conditions.length ? `, ${one.conditions.join(", ")}` : "");
    return [
      el("h4", {}, `${people.size === 1 ? "One" : people.size} would lose something`),
      el(
        "ul",
        { class: "losses" },
        [...people.values()].map((all) =>
          el(
            "li",
            {},
            el("strong", {}, all[0].name),
            el(
              "ul",
              {},
              all.map((loss) =>
                el("li", {}, el("s", {}, right(loss.right)), loss.instead.length ? el("span", { class: "muted" }, ` keeps: ${loss.instead.map((one) => `${right(one)} ${untilText(one.until)}`).join("; ")}`) : null),
              ),
            ),
          ),
        ),
      ),
    ];
  }

  async revoke(edge) {
    $("edge-revoke").disabled = true;
    try {
      const { height } = await this.live.ask("revoke", { dot: edge.dot });
      $("edge").close();
      this.tell(`Taken back. It counts from block ${height} on, for everybody and for ever.`);
    } catch (error) {
      put($("edge-losses"), el("p", { class: "refused" }, error.message));
    }
  }

  // Sharing ---------------------------------------------------------------------------------------------------------

  openShare(person = null, device = null) {
    this.person = person;
    $("share-title").textContent = person ? `Let ${person.name || person.asks || person.id.slice(0, 8)} in` : "Share with a guest";
    $("share-submit").textContent = person ? "Sign and let in" : "Make the link";
    $("share-name").value = person ? person.name || person.asks || "" : "";
    put($("share-device"), [{ path: "", service: "" }, ...this.sharing.devices].map((one) => el("option", { value: one.path }, one.path ? one.path.split("/")[1] : "the whole home")));
    $("share-device").value = device ?? this.sharing.devices[0]?.path ?? "";
    this.fillVerbs();
    const until = person?.id === this.own ? new Date(Date.now() + 30 * 86400000) : nextSunday(new Date());
    $("share-until").value = localText(until);
    $("share-from").value = "";
    $("share-to").value = "";
    $("share-form").hidden = false;
    $("share-made").hidden = true;
    put($("share-trouble"));
    $("share").showModal();
  }

  fillVerbs() {
    const service = $("share-device").value.split("/")[0];
    const verbs = this.sharing.verbs[service] ?? [];
    put($("share-verb"), verbs.map((one) => el("option", { value: one.verb }, one.words)));
    if (verbs.length > 2) $("share-verb").value = verbs[1].verb;
  }

  terms() {
    const [from, to] = [$("share-from").value, $("share-to").value];
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    return {
      device: $("share-device").value,
      verb: $("share-verb").value,
      until: Math.floor(new Date($("share-until").value).getTime() / 1000),
      name: $("share-name").value,
      hours: from && to ? `mon-sun ${from}-${to} ${zone}` : "",
    };
  }

  async share(event) {
    event.preventDefault();
    try {
      if (this.person) {
        await this.live.ask("give", { to: this.person.id, terms: this.terms() });
        $("share").close();
        this.tell(this.person.id === this.own ? "Signed. You are in." : "Signed. They are in.");
        return;
      }
      const made = await this.live.ask("share", { terms: this.terms(), address: `${location.origin}/` });
      $("share-link").value = made.link;
      $("share-once").textContent = `Good once, ${untilText(made.expires)}. Whoever opens it first makes a key of their own; the key is not in the link.`;
      $("share-local").hidden = !["127.0.0.1", "localhost", "[::1]"].includes(location.hostname);
      put($("share-qr"), qr(made.qr));
      $("share-form").hidden = true;
      $("share-made").hidden = false;
    } catch (error) {
      put($("share-trouble"), error.message);
    }
  }

  async copy() {
    $("share-link").select();
    await navigator.clipboard?.writeText($("share-link").value).catch(() => {});
    this.tell("Copied.");
  }

  showInvitations(invitations) {
    $("invitations-room").hidden = !invitations.length;
    put(
      $("invitations"),
      invitations.map((one) =>
        el(
          "li",
          {},
          el("span", { class: "who" }, one.name || "a guest"),
          el("span", { class: "what" }, `${one.verb} ${one.device ? one.device.split("/")[1] : "the whole home"}, ${untilText(one.until)}`),
          el("span", { class: "when" }, `link ${untilText(one.expires)}`),
          el("button", { type: "button", class: "quiet", onclick: () => this.live.ask("withdraw", { key: one.key }).catch((error) => this.tell(error.message)) }, "Withdraw"),
        ),
      ),
    );
  }

  showPeople(people) {
    const waiting = people.filter((one) => one.asks);
    $("door").hidden = !waiting.length;
    put(
      $("door-list"),
      waiting.map((one) =>
        el("li", {}, el("span", { class: "who" }, `“${one.asks}”`), el("span", { class: "code" }, `key ${one.id.slice(0, 8)}…`), el("button", { type: "button", onclick: () => this.openShare(one) }, "Let in…")),
      ),
    );
  }

  // Decisions ---------------------------------------------------------------------------------------------------------

  showLog() {
    const find = $("log-find").value.trim().toLowerCase();
    const which = $("log-which").value;
    const wanted = this.entries.filter((one) => {
      if (which === "allowed" && !one.allowed) return false;
      if (which === "refused" && one.allowed) return false;
      return !find || [this.who(one), one.device, one.did, one.code, one.resource].some((text) => text.toLowerCase().includes(find));
    });
    const newest = wanted.reverse().sort((one, other) => other.time - one.time).slice(0, 200);
    $("log-empty").hidden = newest.length > 0;
    put($("log"), newest.map((one) => this.row(one)));
  }

  who(one) {
    return this.graph?.nodes.find((node) => node.id === one.who)?.name ?? one.name;
  }

  // A text with names in place of the first characters of ids.
  told(text) {
    return text.replace(/(?<![\w-])[\w-]{8}(?![\w-])/g, (short) => this.graph?.nodes.find((node) => node.id.startsWith(short))?.name ?? short);
  }

  row(one) {
    const open = () => this.openDecision(one);
    return el(
      "tr",
      { class: one.allowed ? "allowed" : "refused", tabindex: 0, onclick: open, onkeydown: (event) => event.key === "Enter" && open() },
      el("td", { class: "time" }, timeText(one.time)),
      el("td", { class: "verdict" }, el("span", { class: "badge" }, one.allowed ? "allowed" : "refused")),
      el("td", { class: "who" }, cut(this.who(one), 40)),
      el("td", { class: "device" }, one.device),
      el("td", { class: "did" }, this.told(one.did)),
    );
  }

  async openDecision(one) {
    $("decision-title").textContent = `${this.who(one)}: ${one.allowed ? "allowed" : "refused"}`;
    const path = one.path.map((dot) => this.graph?.edges.find((edge) => edge.dot === dot)).filter(Boolean);
    put(
      $("decision-about"),
      el("dl", {}, [
        ["When", timeText(one.time)],
        ["Device", one.device],
        ["Where", one.resource || "–"],
        [one.allowed ? "What" : "Why not", this.told(one.did)],
        ["Code", one.code],
        ["Decision", one.decision ?? "–"],
        ["Key", one.who],
      ].flatMap(([term, said]) => [el("dt", {}, term), el("dd", {}, said)])),
      path.length ? el("h4", {}, "By this path") : null,
      path.length ? el("ol", {}, path.map((edge) => el("li", {}, `${this.name(edge.giver)} lets ${this.name(edge.receiver)} ${edgeLines(edge).join(", ")}, ${whenText(edge)}`))) : null,
    );
    put($("decision-lines"));
    $("decision").showModal();
    if (!one.decision) return;
    const { lines } = await this.live.ask("why", { decision: one.decision }).catch(() => ({ lines: [] }));
    put($("decision-lines"), lines.length ? [el("h4", {}, "As the agent explains it"), el("pre", {}, lines.join("\n"))] : null);
  }
}

function nextSunday(now) {
  const then = new Date(now.getFullYear(), now.getMonth(), now.getDate() + ((7 - now.getDay()) % 7), 20);
  return then > now ? then : new Date(then.getFullYear(), then.getMonth(), then.getDate() + 7, 20);
}

function localText(date) {
  const two = (number) => String(number).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}T${two(date.getHours())}:${two(date.getMinutes())}`;
}

function qr(rows) {
  const size = rows.length + 8;
  const path = rows.flatMap((row, y) => [...row].map((dark, x) => (dark === "1" ? `M${x + 4} ${y + 4}h1v1h-1z` : ""))).join("");
  return svg("svg", { viewBox: `0 0 ${size} ${size}`, role: "img", "aria-label": "The link as a QR code", "shape-rendering": "crispEdges" }, svg("rect", { width: size, height: size, fill: "#fff" }), svg("path", { d: path, fill: "#000" }));
}
