// The delegations of the home as a picture: columns by distance from it, a label on every arrow, left to right.

import { cut, svg, untilText } from "./dom.js";
import { edgeLines } from "./words.js";

const BOX = 40;
const LINE = 15;
const GAP = 14;
const RUN = 40;
const ARROW = 20;
const LETTER = 6.6;
const MOST_LINES = 4;

export function stateOf(edge) {
  if (edge.state === "valid") return edge.effective === false ? "void" : "valid";
  return edge.state === "not yet valid" ? "waits" : "dead";
}

function terms(edge) {
  if (edge.state !== "valid" && edge.state !== "not yet valid") return [edge.state];
  const hops = edge.indirections ? [`may hand it on, ${edge.indirections === 1 ? "once" : `${edge.indirections} times over`}`] : [];
  return [...(edge.effective === false ? ["without effect"] : []), untilText(edge.expires), ...hops];
}

export function whenText(edge) {
  return terms(edge).join(" · ");
}

function labelLines(edge) {
  const lines = edgeLines(edge);
  const shown = lines.length > MOST_LINES ? [...lines.slice(0, MOST_LINES - 1), `… ${lines.length - MOST_LINES + 1} more`] : lines;
  return [...shown.map((line) => ["right", cut(line, 46)]), ...terms(edge).map((line) => ["term", line])];
}

// Return how far each entity is from the namespace by the longest way, so that arrows lead to the right; those that no
// arrow leads to stand first, and an arrow that would close a circle counts for nothing.
export function layers(namespace, edges) {
  const given = new Map();
  for (const edge of edges) given.set(edge.giver, [...(given.get(edge.giver) ?? []), edge.receiver]);
  const order = [];
  const state = new Map(); // 1 while its receivers are looked at, 2 when they were
  const forward = new Map();
  const walk = (id) => {
    state.set(id, 1);
    for (const receiver of given.get(id) ?? []) {
      if (state.get(receiver) === 1) continue;
      forward.set(id, [...(forward.get(id) ?? []), receiver]);
      if (!state.has(receiver)) walk(receiver);
    }
    state.set(id, 2);
    order.push(id);
  };
  walk(namespace);
  for (const edge of edges) if (!state.has(edge.giver)) walk(edge.giver);
  const found = new Map(order.reverse().map((id) => [id, 0]));
  for (const id of order) for (const receiver of forward.get(id) ?? []) found.set(receiver, Math.max(found.get(receiver), found.get(id) + 1));
  return found;
}

function stack(column) {
  let top = 0;
  for (const slot of column) {
    slot.top = top;
    top += slot.height + GAP;
  }
  return top - GAP;
}

const middleOf = (slot) => slot.top + slot.height / 2;

// Give every entity, with the labels of what it receives, a place in its column, and every arrow that passes a column
// a gap in it.
function place(namespace, edges) {
  const layer = layers(namespace, edges);
  const slots = new Map();
  const columns = [];
  for (const [id, column] of layer) {
    const slot = { id, column, labels: [], height: BOX, givers: [] };
    slots.set(id, slot);
    (columns[column] ??= []).push(slot);
  }
  for (const edge of edges) {
    const lines = labelLines(edge);
    const width = Math.max(...lines.map(([, line]) => line.length)) * LETTER + 20;
    const label = { edge, lines, height: lines.length * LINE + 12, width, passes: [] };
    const [giver, receiver] = [slots.get(edge.giver), slots.get(edge.receiver)];
    receiver.labels.push(label);
    let before = giver;
    for (let column = giver.column + 1; column < receiver.column; column += 1) {
      const passing = { column, labels: [], height: 10, givers: [before] };
      columns[column].push(passing);
      label.passes.push(passing);
      before = passing;
    }
    if (giver.column < receiver.column) receiver.givers.push(before);
  }
  for (const slot of slots.values()) slot.height = Math.max(BOX, slot.labels.reduce((sum, one) => sum + one.height + 6, -6));
  columns.forEach(stack);
  for (let round = 0; round < 4; round += 1) {
    for (const column of columns.slice(1)) {
      for (const slot of column) slot.pull = slot.givers.length ? slot.givers.reduce((sum, one) => sum + middleOf(one), 0) / slot.givers.length : middleOf(slot);
      column.sort((one, other) => one.pull - other.pull);
      stack(column);
    }
  }
  const tallest = Math.max(...columns.map(stack));
  for (const column of columns) {
    const shift = (tallest - stack(column)) / 2;
    for (const slot of column) slot.top += shift + 12;
  }
  for (const slot of slots.values()) {
    slot.labels.sort((one, other) => middleOf(one.passes.at(-1) ?? slots.get(one.edge.giver)) - middleOf(other.passes.at(-1) ?? slots.get(other.edge.giver)));
  }
  const back = edges.filter((edge) => slots.get(edge.giver).column >= slots.get(edge.receiver).column);
  return { columns, slots, low: tallest + 20, height: tallest + 24 + 12 * back.length };
}

// Draw the graph into `where`; `chosen` is called with an edge that somebody clicks.
export function drawGraph(where, graph, names, edges, chosen) {
  const { columns, slots, low, height } = place(graph.namespace, edges);
  let x = 12;
  for (const column of columns) {
    const labels = column.flatMap((slot) => slot.labels);
    const widest = Math.max(0, ...labels.map((one) => one.width));
    if (labels.length) x += RUN;
    const labelX = x;
    if (labels.length) x += widest + ARROW;
    const width = Math.max(88, ...column.map((slot) => (slot.id ? cut(names(slot.id), 24).length * 8 + 26 : 0)));
    for (const slot of column) Object.assign(slot, { labelX, x, width });
    x += width;
  }
  const width = x + 12;
  const arrows = [];
  const boxes = [];
  for (const slot of slots.values()) {
    const middle = middleOf(slot);
    let top = middle - slot.labels.reduce((sum, one) => sum + one.height + 6, -6) / 2;
    for (const label of slot.labels) {
      arrows.push(arrow(label, slots.get(label.edge.giver), slot, top, low, names, chosen));
      top += label.height + 6;
    }
    const state = graph.nodes.find((node) => node.id === slot.id)?.state;
    const kind = slot.id === graph.namespace ? "node root" : state === "revoked" || state === "expired" ? "node gone" : "node";
    boxes.push(
      svg(
        "g",
        { class: kind },
        svg("title", {}, `${names(slot.id)} ${slot.id}`),
        svg("rect", { x: slot.x, y: middle - BOX / 2, width: slot.width, height: BOX, rx: 10 }),
        svg("text", { x: slot.x + slot.width / 2, y: middle + 5, "text-anchor": "middle" }, cut(names(slot.id), 24)),
      ),
    );
  }
  const drawing = svg(
    "svg",
    { viewBox: `0 0 ${width.toFixed(0)} ${height.toFixed(0)}`, width: width.toFixed(0), role: "group", "aria-label": "Delegations" },
    arrows,
    boxes,
  );
  drawing.style.minWidth = `${Math.round(0.85 * width)}px`; // smaller, it is scrolled
  where.replaceChildren(drawing);
}

function arrow(label, giver, receiver, top, low, names, chosen) {
  const { edge } = label;
  const middle = top + label.height / 2;
  const [left, right, x2, y2] = [receiver.labelX, receiver.labelX + label.width, receiver.x, middleOf(receiver)];
  const story = `${names(edge.giver)} lets ${names(edge.receiver)} ${edgeLines(edge).join("; ")}, ${whenText(edge)}`;
  const choose = () => chosen(edge);
  return svg(
    "g",
    {
      class: `arrow ${stateOf(edge)}`,
      tabindex: 0,
      role: "button",
      "aria-label": story,
      "data-dot": edge.dot,
      onclick: choose,
      onkeydown: (event) => {
        if (event.key === "Enter" || event.key === " ") {
          event.preventDefault();
          choose();
        }
      },
    },
    svg("title", {}, story),
    svg("path", { class: "line", d: way(label, giver, receiver, left, middle, low) }),
    svg("path", { class: "line", d: `M${right} ${middle} C${x2 - 14} ${middle} ${x2 - 20} ${y2} ${x2 - 7} ${y2}` }),
    svg("path", { class: "head", d: `M${x2} ${y2} l-9 -4.5 v9 z` }),
    svg("rect", { class: "label", x: left, y: top, width: label.width, height: label.height, rx: 7 }),
    label.lines.map(([kind, line], number) =>
      svg("text", { class: kind, x: left + 10, y: top + 6 + LINE * number + 11 }, line),
    ),
  );
}

// Return the way from a giver's box to a label: through the gaps in the columns between, or back below everything.
function way(label, giver, receiver, left, middle, low) {
  let [x, y] = [giver.x + giver.width, middleOf(giver)];
  if (giver.column >= receiver.column) return `M${x} ${y} h10 V${low} H${left - 14} V${middle} H${left}`;
  const steps = [`M${x} ${y}`];
  const bend = (toX, toY) => steps.push(`C${toX - RUN / 2} ${y} ${toX - RUN / 2} ${toY} ${toX} ${toY}`);
  for (const gap of label.passes) {
    bend(gap.labelX, middleOf(gap));
    steps.push(`H${gap.x + gap.width}`);
    [x, y] = [gap.x + gap.width, middleOf(gap)];
  }
  bend(left, middle);
  return steps.join(" ");
}
