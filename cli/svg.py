"""A namespace's graph as one SVG file that needs nothing else: columns by distance from the namespace, left to right.

Each label has a slot of its own before its receiver, so labels never cover one another. An edge that passes over
columns gets a slot in each, and so goes between the boxes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Final

from cli import ui
from cli.graph import Plan, right_texts, time_text
from wave.times import instant_text

if TYPE_CHECKING:
    from wave.agent.wire import Edge

_MARGIN: Final = 32
_TOP: Final = 92  # the title's height
_BOX_HEIGHT: Final = 44
_LINE: Final = 15  # a line of a label
_GAP: Final = 16  # between slots of a column
_RUN: Final = 64  # room in which an edge bends
_ARROW: Final = 26  # from a label to its receiver
_BOX_LETTER: Final = 7.9
_LABEL_LETTER: Final = 6.7
_NAME_LETTERS: Final = 26
_LABEL_LETTERS: Final = 46
_LABEL_LINES: Final = 4
_PASSING: Final = 18  # the height of a slot through which an edge passes
_LANE: Final = 14  # between the ways back, below everything
_ROUNDS: Final = 4

_STYLE: Final = """
    text { font-family: system-ui, "Segoe UI", Helvetica, Arial, "DejaVu Sans", sans-serif; fill: #1f2933 }
    .title { font-size: 20px; font-weight: 600 } .subtitle, .legend { font-size: 12px; fill: #616e7c }
    .box { fill: #ffffff; stroke: #9aa5b1; stroke-width: 1.2 }
    .name { font-size: 14px; font-weight: 600 }
    .id { font-size: 10.5px; fill: #7b8794; font-family: ui-monospace, "DejaVu Sans Mono", monospace }
    .root .box { fill: #103d5c; stroke: #103d5c } .root .name { fill: #ffffff } .root .id { fill: #b6cfe0 }
    .gone .box { fill: #f5f7fa; stroke: #c0392b; stroke-dasharray: 5 4 }
    .gone .name { fill: #9b2c1f; text-decoration: line-through }
    .edge { fill: none; stroke: #2f7d6b; stroke-width: 1.8 } .head { fill: #2f7d6b }
    .label { fill: #eef6f3; stroke: #c3ded6; stroke-width: 1 }
    .right { font-size: 12px } .term { font-size: 11px; fill: #52606d }
    .waits .edge { stroke: #b7791f; stroke-dasharray: 2 4 } .waits .head { fill: #b7791f }
    .waits .label { fill: #fdf6e3; stroke: #ecd9a4 }
    .dead .edge { stroke: #b8bec6; stroke-dasharray: 6 5 } .dead .head { fill: #b8bec6 }
    .dead .label { fill: #fafafa; stroke: #dde1e6 } .dead .right { fill: #8b95a1; text-decoration: line-through }
    .dead .term { fill: #b03a2e }
"""


@dataclass
class _Slot:
    """Room in a column: for an entity with the labels of what it receives, or for an edge that passes (no entity)."""

    column: int
    height: float
    entity: str | None = None
    sources: list["_Slot"] = field(default_factory=list)
    top: float = 0.0

    @property
    def middle(self) -> float:
        return self.top + self.height / 2


@dataclass
class _Arrow:
    """A DoT on its way: the slots that it passes, and where its label is."""

    edge: "Edge"
    lines: list[str]
    passes: list[_Slot] = field(default_factory=list)
    offset: float = 0.0

    @property
    def height(self) -> float:
        return len(self.lines) * _LINE + 10

    @property
    def width(self) -> float:
        return max(len(line) for line in self.lines) * _LABEL_LETTER + 18


def draw(plan: Plan, *, now: int) -> str:
    """Return the drawing of ``plan``, made at ``now`` (UTC seconds)."""
    return "\n".join(_Drawing(plan).lines(now)) + "\n"


class _Drawing:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.arrows = [_Arrow(edge, _label_lines(edge, plan)) for edge in plan.edges]
        self.columns: list[list[_Slot]] = [[] for _ in range(max(plan.layers.values()) + 1)]
        self.slots: dict[str, _Slot] = {}
        self._make_slots()
        self._order()
        self._place()

    # Layout --------------------------------------------------------------------------------------------------------

    def _make_slots(self) -> None:
        incoming: dict[str, list[_Arrow]] = {}
        for arrow in self.arrows:
            incoming.setdefault(arrow.edge.receiver, []).append(arrow)
        self.incoming = incoming
        for identity, column in self.plan.layers.items():
            labels = sum(arrow.height + 6 for arrow in incoming.get(identity, ())) - 6
            slot = _Slot(column, max(_BOX_HEIGHT, labels), identity)
            self.slots[identity] = slot
            self.columns[column].append(slot)
        for arrow in self.arrows:
            source, target = self.slots[arrow.edge.giver], self.slots[arrow.edge.receiver]
            before = source
            for column in range(source.column + 1, target.column):
                passing = _Slot(column, _PASSING, sources=[before])
                self.columns[column].append(passing)
                arrow.passes.append(passing)
                before = passing
            if source.column < target.column:
                target.sources.append(before)

    def _order(self) -> None:
        """Bring each column into the order of where its edges come from, a few times over."""
        for _ in range(_ROUNDS):
            for column in self.columns:
                top = 0.0
                for slot in column:
                    slot.top = top
                    top += slot.height + _GAP
            for column in self.columns[1:]:
                column.sort(key=_pull)
                top = 0.0
                for slot in column:
                    slot.top = top
                    top += slot.height + _GAP

    def _place(self) -> None:
        """Give every column its x and every slot its y; short columns stand beside the middle of the tallest."""
        heights = [sum(slot.height + _GAP for slot in column) - _GAP for column in self.columns]
        tallest = max(heights)
        x = float(_MARGIN)
        self.label_x: list[float] = []
        self.box_x: list[float] = []
        self.box_width: list[float] = []
        for number, column in enumerate(self.columns):
            labels = [arrow.width for slot in column if slot.entity for arrow in self.incoming.get(slot.entity, ())]
            if labels:
                x += _RUN
            self.label_x.append(x)
            if labels:
                x += max(labels) + _ARROW
            self.box_x.append(x)
            widths = [_box_width(self.plan.name(slot.entity)) for slot in column if slot.entity]
            self.box_width.append(max(widths, default=0.0))
            x += self.box_width[-1]
            top = _TOP + (tallest - heights[number]) / 2
            for slot in column:
                slot.top = top
                top += slot.height + _GAP
        self.width = max(x + _MARGIN, 520.0)
        self.lanes = [
            arrow.edge.dot
            for arrow in self.arrows
            if self.slots[arrow.edge.giver].column >= self.slots[arrow.edge.receiver].column
        ]
        self.low = _TOP + tallest + _LANE
        self.bottom = _TOP + tallest + _LANE * len(self.lanes)
        self.width += 5 * len(self.lanes)
        for identity, arrows in self.incoming.items():
            slot = self.slots[identity]
            arrows.sort(key=lambda arrow: (arrow.passes[-1] if arrow.passes else self.slots[arrow.edge.giver]).middle)
            offset = (slot.height - sum(arrow.height + 6 for arrow in arrows) + 6) / 2
            for arrow in arrows:
                arrow.offset = offset
                offset += arrow.height + 6

    # Drawing -------------------------------------------------------------------------------------------------------

    def lines(self, now: int) -> Iterator[str]:
        """Yield the file's lines."""
        plan, height = self.plan, self.bottom + 64
        valid = sum(edge.state == "valid" for edge in plan.edges)
        title = f"Who holds what in {plan.name(plan.namespace)}"
        about = f"{len(plan.layers)} entities, {valid} of {len(plan.edges)} DoTs valid, at {instant_text(now)}"
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width:.0f}" height="{height:.0f}" '
            f'viewBox="0 0 {self.width:.0f} {height:.0f}" role="img" aria-labelledby="title about">'
        )
        yield f'<title id="title">{_text(title)}</title>'
        yield f'<desc id="about">{_text(about)}</desc>'
        yield f"<style>{_STYLE}</style>"
        yield '<rect width="100%" height="100%" fill="#fbfcfd"/>'
        yield f'<text class="title" x="{_MARGIN}" y="40">{_text(title)}</text>'
        yield f'<text class="subtitle" x="{_MARGIN}" y="62">{_text(about)} · {_text(plan.namespace)}</text>'
        for arrow in self.arrows:
            yield from self._arrow(arrow)
        for identity in plan.layers:
            yield from self._box(identity)
        yield from self._legend(height - 26)
        yield "</svg>"

    def _arrow(self, arrow: _Arrow) -> Iterator[str]:
        edge = arrow.edge
        source, target = self.slots[edge.giver], self.slots[edge.receiver]
        kind = "valid" if edge.state == "valid" else "waits" if edge.state == "not yet valid" else "dead"
        left, top = self.label_x[target.column], target.top + arrow.offset
        middle = top + arrow.height / 2
        end = self.box_x[target.column]
        yield f'<g class="{kind}"><title>{_text(self._story(edge))}</title>'
        yield f'<path class="edge" d="{self._way(arrow, source, target, left, middle)}"/>'
        turn = target.middle
        yield (
            f'<path class="edge" d="M{left + arrow.width:.1f} {middle:.1f} C{end - 16:.1f} {middle:.1f} '
            f'{end - 22:.1f} {turn:.1f} {end - 7:.1f} {turn:.1f}"/>'
        )
        yield f'<path class="head" d="M{end:.1f} {turn:.1f} l-9 -4.5 v9 z"/>'
        yield (
            f'<rect class="label" x="{left:.1f}" y="{top:.1f}" width="{arrow.width:.1f}" '
            f'height="{arrow.height:.1f}" rx="5"/>'
        )
        for place, line in enumerate(arrow.lines):
            style = "term" if place == len(arrow.lines) - 1 else "right"
            yield (
                f'<text class="{style}" x="{left + 9:.1f}" y="{top + 5 + _LINE * place + 11:.1f}">{_text(line)}</text>'
            )
        yield "</g>"

    def _way(self, arrow: _Arrow, source: _Slot, target: _Slot, left: float, middle: float) -> str:
        """Return the path from the giver's box to the label."""
        x, y = self.box_x[source.column] + self.box_width[source.column], source.middle
        if source.column >= target.column:
            return self._way_back(self.lanes.index(arrow.edge.dot), x, y, left, middle)
        steps = [f"M{x:.1f} {y:.1f}"]
        for slot in arrow.passes:
            enter = self.label_x[slot.column] - _RUN / 4
            leave = self.box_x[slot.column] + self.box_width[slot.column]
            bend = (x + enter) / 2
            steps.append(f"C{bend:.1f} {y:.1f} {bend:.1f} {slot.middle:.1f} {enter:.1f} {slot.middle:.1f}")
            steps.append(f"L{leave:.1f} {slot.middle:.1f}")
            x, y = leave, slot.middle
        bend = (x + left) / 2
        return " ".join([*steps, f"C{bend:.1f} {y:.1f} {bend:.1f} {middle:.1f} {left:.1f} {middle:.1f}"])

    def _way_back(self, lane: int, x: float, y: float, left: float, middle: float) -> str:
        """Return a path against the columns: out of the box, down to a lane of its own, and up to the label."""
        out, low, up = x + 12 + 5 * lane, self.low + _LANE * lane, left - 12 - 5 * lane
        return (
            f"M{x:.1f} {y:.1f} H{out - 6:.1f} q6 0 6 6 V{low - 6:.1f} q0 6 -6 6 "
            f"H{up + 6:.1f} q-6 0 -6 -6 V{middle + 6:.1f} q0 -6 6 -6 H{left:.1f}"
        )

    def _story(self, edge: "Edge") -> str:
        rights = "; ".join(right_texts(edge, self.plan))
        comment = f"; {edge.comment}" if edge.comment else ""
        return (
            f"{self.plan.name(edge.giver)} gives {self.plan.name(edge.receiver)}: {rights}; {time_text(edge)}; "
            f"DoT {edge.dot}{comment}"
        )

    def _box(self, identity: str) -> Iterator[str]:
        slot, plan = self.slots[identity], self.plan
        state = plan.states.get(identity, "")
        kinds = ["node"] + ["root"] * (identity == plan.namespace) + ["gone"] * (state in ("revoked", "expired"))
        x, y, width = self.box_x[slot.column], slot.middle - _BOX_HEIGHT / 2, self.box_width[slot.column]
        name = plan.name(identity)
        everybody = name == "everybody"
        below = "anyone at all" if everybody else f"{identity[:8]}…" + (f" {state}" if "gone" in kinds else "")
        yield f'<g class="{" ".join(kinds)}"><title>{_text(f"{name} {identity} {state}")}</title>'
        yield f'<rect class="box" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{_BOX_HEIGHT}" rx="9"/>'
        middle = x + width / 2
        shown = _text(_cut(name, _NAME_LETTERS))
        yield f'<text class="name" x="{middle:.1f}" y="{y + 19:.1f}" text-anchor="middle">{shown}</text>'
        yield f'<text class="id" x="{middle:.1f}" y="{y + 34:.1f}" text-anchor="middle">{_text(below)}</text>'
        yield "</g>"

    def _legend(self, y: float) -> Iterator[str]:
        x = float(_MARGIN)
        states = {edge.state for edge in self.plan.edges}
        for kind, text, there in (
            ("valid", "valid", "valid" in states),
            ("waits", "not yet valid", "not yet valid" in states),
            ("dead", "revoked or expired", bool(states & {"revoked", "expired"})),
        ):
            if there:
                yield f'<g class="{kind}"><path class="edge" d="M{x:.1f} {y:.1f} h34"/></g>'
                yield f'<text class="legend" x="{x + 42:.1f}" y="{y + 4:.1f}">{text}</text>'
                x += 42 + len(text) * 6.4 + 28


def _pull(slot: _Slot) -> float:
    return sum(source.middle for source in slot.sources) / len(slot.sources) if slot.sources else slot.middle


def _box_width(name: str) -> float:
    return max(min(len(name), _NAME_LETTERS) * _BOX_LETTER + 28, 104)


def _label_lines(edge: "Edge", plan: Plan) -> list[str]:
    """Return a DoT's label: its rights, conditions on lines of their own, and its time; cut where it grows long."""
    lines = [part for text in right_texts(edge, plan) for part in text.split(", ")]
    if len(lines) > _LABEL_LINES:
        lines = [*lines[: _LABEL_LINES - 1], f"… {len(lines) - _LABEL_LINES + 1} more"]
    return [_cut(line, _LABEL_LETTERS) for line in (*lines, time_text(edge))]


def _cut(text: str, letters: int) -> str:
    return text if len(text) <= letters else f"{text[: letters - 1]}…"


def _text(text: str) -> str:
    return escape(ui.plain(text))
