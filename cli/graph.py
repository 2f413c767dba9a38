"""A namespace's delegations drawn: as a tree of text, as JSON, for Graphviz, or as one SVG file or HTML page."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import click

from cli import ui
from cli.options import ENTITY, FILE, verb
from cli.session import Session
from wave.errors import BadSetting

if TYPE_CHECKING:
    from wave.agent.wire import Edge, GraphReply

_ENDINGS: Final = {
    "json": "json",
    "dot": "dot",
    "gv": "dot",
    "svg": "svg",
    "html": "html",
    "htm": "html",
    "txt": "tree",
    "tree": "tree",
}
FORMATS: Final = ("tree", "json", "dot", "svg", "html")


@verb
@click.option("--format", "form", type=click.Choice(FORMATS), help="Default: tree, or what FILE's name ends in.")
@click.option("-o", "--output", type=FILE, metavar="FILE", help="Write to FILE instead of stdout, over what is there.")
@click.option("--all", "dead_too", is_flag=True, help="Also what is revoked, expired or gives nothing, marked so.")
@click.argument("namespace", type=ENTITY)
def graph(session: Session, form: str | None, output: str | None, dead_too: bool, namespace: str) -> None:
    """Draw who holds what in NAMESPACE now, and from whom."""
    from pathlib import Path

    from cli import reference
    from wave.agent.wire import Graph
    from wave.entities.keyring import write_file

    form = form or ("json" if output is None and session.json else _form_of(output))
    found = reference.entity(session, namespace)
    reference.introduce(session, found)
    reply = session.call(Graph(namespace=found.text))
    if not dead_too:
        before, reply = len(reply.edges), living(reply)
        _say_left_out(before - len(reply.edges))
    plan = Plan(reply, reference.Names(session))
    if form == "tree" and output is None:
        for line in tree(plan):
            ui.out(line)
        return
    text = _text(form, plan, reply, session.now())
    if output is None:
        ui.text_file(text)
        return
    path = Path(output)
    if path.is_file() and "-----BEGIN WAVE" in path.read_bytes()[:200].decode("ascii", "replace"):
        reference.check_free(output)
    write_file(path, (text + "\n").encode("utf-8"), replace=True)
    if session.json:
        ui.document({"file": output, "format": form, "entities": len(reply.nodes), "dots": len(reply.edges)})


def _say_left_out(count: int) -> None:
    if count:
        ui.say(f"{count} more {'is' if count == 1 else 'are'} revoked, expired or of no effect; see --all")


def _text(form: str, plan: "Plan", reply: "GraphReply", now: int) -> str:
    """Return the drawing in one of :data:`FORMATS`."""
    if form == "json":
        import json

        from wave.agent.wire import encode

        return json.dumps(json.loads(encode(reply)), indent=2)
    if form == "svg":
        from cli.svg import draw

        return draw(plan, now=now)
    if form == "html":
        from cli.html import page

        return page(plan, now=now)
    if form == "dot":
        return "\n".join(graphviz(plan))
    return "\n".join("".join(map(ui.plain, (line,) if isinstance(line, str) else line)) for line in tree(plan))


def _form_of(output: str | None) -> str:
    if output is None:
        return "tree"
    ending = output.rpartition("/")[2].rpartition(".")[2] if "." in output else "txt"
    form = _ENDINGS.get(ending)
    if form is None:
        raise BadSetting(
            f"what to draw into {output} is not said",
            hint="end its name in .svg, .html, .dot, .json or .txt, or say --format",
        )
    return form


def living(reply: "GraphReply") -> "GraphReply":
    """Return the part of a graph that counts now: valid DoTs, from givers who hold some of it, to the living."""
    from wave.agent.wire import GraphReply

    dead = {node.id for node in reply.nodes if node.state not in ("valid", "unknown")}
    given: dict[str, list[Edge]] = {}
    for edge in reply.edges:
        if edge.state == "valid" and edge.effective is not False and not dead & {edge.giver, edge.receiver}:
            given.setdefault(edge.giver, []).append(edge)
    reached, ahead = {reply.namespace}, [reply.namespace] if reply.namespace not in dead else []
    while ahead:
        for edge in given.get(ahead.pop(), ()):
            if edge.receiver not in reached:
                reached.add(edge.receiver)
                ahead.append(edge.receiver)
    kept = {edge.dot for giver, edges in given.items() if giver in reached for edge in edges}
    return GraphReply(
        namespace=reply.namespace,
        nodes=tuple(node for node in reply.nodes if node.id in reached),
        edges=tuple(edge for edge in reply.edges if edge.dot in kept),
    )


class Plan:
    """A graph made ready for drawing: names, and the edges by giver in the order in which they are shown."""

    def __init__(self, reply: "GraphReply", names: "object") -> None:
        """Take the agent's answer, and the names that are known here (:class:`cli.reference.Names`)."""
        from cli.reference import Names

        assert isinstance(names, Names)
        self.namespace = reply.namespace
        self.states = {node.id: node.state for node in reply.nodes}
        self.names = {node.id: names.by_id.get(node.id) or node.name for node in reply.nodes}
        self.names.setdefault(reply.namespace, names.name(reply.namespace))
        self.edges = tuple(sorted(reply.edges, key=lambda edge: edge.state != "valid"))
        self.given: dict[str, list[Edge]] = {}
        for edge in self.edges:
            self.given.setdefault(edge.giver, []).append(edge)
        self.unreached: list[str] = []
        self.layers = self._layers()

    def name(self, identity: str) -> str:
        """Return what an entity is called."""
        return self.names.get(identity) or identity[:8]

    def _layers(self) -> dict[str, int]:
        """Return how many DoTs the longest way to each entity has, so that edges lead on but where they go in circles.

        Entities that no path from the namespace reaches begin ways of their own; ``unreached`` names those.
        """
        receivers = {edge.receiver for edge in self.edges}
        finished: list[str] = []
        begun: set[str] = set()
        circular: set[str] = set()
        for root in (self.namespace, *sorted(self.given, key=receivers.__contains__)):
            if root in begun:
                continue
            if root != self.namespace:
                self.unreached.append(root)
            self._walk(root, begun, finished, circular)
        layers = dict.fromkeys(reversed(finished), 0)
        for giver in reversed(finished):
            for edge in self.given.get(giver, ()):
                if edge.dot not in circular:
                    layers[edge.receiver] = max(layers[edge.receiver], layers[giver] + 1)
        return layers

    def _walk(self, root: str, begun: set[str], finished: list[str], circular: set[str]) -> None:
        """Visit all below ``root``, depth first: ``finished`` gets each entity after all that it leads to."""
        begun.add(root)
        ways = [(root, iter(self.given.get(root, ())))]
        open_ = {root}
        while ways:
            giver, edges = ways[-1]
            edge = next(edges, None)
            if edge is None:
                ways.pop()
                open_.discard(giver)
                finished.append(giver)
            elif edge.receiver in open_:
                circular.add(edge.dot)
            elif edge.receiver not in begun:
                begun.add(edge.receiver)
                open_.add(edge.receiver)
                ways.append((edge.receiver, iter(self.given.get(edge.receiver, ()))))


def right_texts(edge: "Edge", plan: Plan) -> list[str]:
    """Return each right of a DoT as ``perms@pattern``, with its conditions."""
    found = []
    for right in edge.grants:
        kind = "" if right.permission_set is None else f"{plan.name(right.permission_set)}:"
        conditions = "".join(f", {condition}" for condition in right.conditions)
        found.append(f"{kind}{','.join(right.permissions)}@{right.pattern}{conditions}")
    return found


def time_text(edge: "Edge") -> str:
    """Return until when a DoT holds and how far it may be handed on, or why it does not hold."""
    from wave.times import instant_text

    if edge.state == "revoked":
        return "revoked"
    day = instant_text(edge.expires).removesuffix(":00Z").replace("T", " ")[:16]
    if edge.state == "expired":
        return f"expired {day}"
    if edge.state == "valid" and edge.effective is False:
        return "gives nothing: its giver does not hold it"
    hops = "" if not edge.indirections else f", {edge.indirections} hop{'' if edge.indirections == 1 else 's'}"
    return ("" if edge.state == "valid" else f"{edge.state}, ") + f"until {day}{hops}"


# Text --------------------------------------------------------------------------------------------------------------


def tree(plan: Plan) -> Iterator[ui.Line]:
    """Yield the delegations as a tree from the namespace down; an entity's own grants stand where it comes first."""
    shown: set[str] = set()
    yield (ui.paint(plan.name(plan.namespace), "bold"), f"  {plan.namespace}")
    if not plan.edges:
        yield "└─ nobody holds anything here"
    yield from _branches(plan, plan.namespace, "", shown)
    for root in plan.unreached:
        yield (ui.paint(plan.name(root), "bold"), f"  {root}  not reached from {plan.name(plan.namespace)}")
        yield from _branches(plan, root, "", shown)


def _branches(plan: Plan, root: str, indent: str, shown: set[str]) -> Iterator[ui.Line]:
    """Yield the lines below ``root``; a stack instead of recursion, for a chain may be as long as its authors like."""
    shown.add(root)
    stack = [(edge, indent, last) for edge, last in _with_last(plan.given.get(root, []))][::-1]
    while stack:
        edge, lead, last = stack.pop()
        below = plan.given.get(edge.receiver, [])
        seen = edge.receiver in shown
        note = "  (see above)" if seen and below else ""
        state = plan.states.get(edge.receiver, "")
        yield (
            f"{lead}{'└─ ' if last else '├─ '}",
            ui.paint(plan.name(edge.receiver), "bold"),
            f" [{state}]" if state in ("revoked", "expired") else "",
            f"  {'; '.join(right_texts(edge, plan))}  ",
            ui.state(edge.state) if edge.state != "valid" else "",
            ("" if edge.state == "revoked" else f"{' ' if edge.state != 'valid' else ''}{_bare(edge)}") + note,
        )
        if not seen:
            shown.add(edge.receiver)
            stack += [(one, lead + ("   " if last else "│  "), end) for one, end in _with_last(below)][::-1]


def _bare(edge: "Edge") -> str:
    return time_text(edge).removeprefix(f"{edge.state}, ").removeprefix(f"{edge.state} ")


def _with_last(edges: "list[Edge]") -> "list[tuple[Edge, bool]]":
    return [(edge, place == len(edges) - 1) for place, edge in enumerate(edges)]


# Graphviz ----------------------------------------------------------------------------------------------------------


def graphviz(plan: Plan) -> Iterator[str]:
    """Yield the lines of a Graphviz file."""
    yield "digraph wave {"
    yield '  rankdir=LR; node [shape=box, style=rounded, fontname="sans-serif"];'
    yield '  edge [fontname="sans-serif", fontsize=10];'
    for identity in plan.layers:
        extra = ", penwidth=2" if identity == plan.namespace else ""
        dead = ', style="rounded,dashed", color=gray' if plan.states.get(identity) in ("revoked", "expired") else ""
        yield f"  {_quoted(identity)} [label={_quoted(plan.name(identity))}{extra}{dead}];"
    for edge in plan.edges:
        label = _quoted("\n".join([*right_texts(edge, plan), time_text(edge)]))
        dead = "" if edge.state == "valid" else ", style=dashed, color=gray, fontcolor=gray"
        yield f"  {_quoted(edge.giver)} -> {_quoted(edge.receiver)} [label={label}, tooltip={_quoted(edge.dot)}{dead}];"
    yield "}"


def _quoted(text: str) -> str:
    lines = [ui.plain(line).replace("\\", "\\\\").replace('"', '\\"') for line in text.split("\n")]
    return '"' + "\\n".join(lines) + '"'
