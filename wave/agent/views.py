"""The agent's readable views of objects: what its replies show of DoTs, paths and rights."""

from collections.abc import Callable

from wave.agent.wire import Edge, GrantView, HoldingView
from wave.codec import id_text
from wave.dots.dot import Dot
from wave.dots.facts import Facts
from wave.dots.holdings import Effective
from wave.dots.rules import Path
from wave.entities.entity import Entity
from wave.namespace.grant import Right

Standing = Dot | Entity


def state_of(thing: Standing, facts: Facts, now: int) -> str:
    """Return in a word whether a DoT or an entity stands: revoked, expired, not yet valid, or valid."""
    if facts.revoked_at(thing.commitments) is not None:
        return "revoked"
    if now >= thing.expires:
        return "expired"
    return "valid" if now >= thing.created else "not yet valid"


def grant_view(right: Right) -> GrantView:
    """Return one right, readable."""
    return GrantView(
        permission_set=None if right.permission_set is None else id_text(right.permission_set),
        permissions=right.permissions,
        pattern=right.pattern,
        conditions=tuple(str(condition) for condition in right.conditions),
    )


def edge(dot: Dot, facts: Facts, now: int, height: int | None, *, effective: bool | None) -> Edge:
    """Return a DoT as an edge of its namespace's graph."""
    return Edge(
        dot=id_text(dot.id),
        giver=id_text(dot.giver),
        receiver=id_text(dot.receiver),
        grants=tuple(grant_view(right) for right in dot.grants),
        indirections=dot.indirections,
        created=dot.created,
        expires=dot.expires,
        state=state_of(dot, facts, now),
        height=height,
        comment=dot.comment,
        effective=effective,
    )


def path_ids(path: Path) -> tuple[str, ...]:
    """Return the ids of a path's DoTs, as text."""
    return tuple(id_text(dot.id) for dot in path)


def holding_view(right: Effective, name: Callable[[bytes], str] = id_text) -> HoldingView:
    """Return a right in effect, readable."""
    return HoldingView(
        namespace=name(right.namespace),
        permission_set=None if right.permission_set is None else id_text(right.permission_set),
        permission=right.permission,
        pattern=str(right.pattern),
        hops_left=right.hops_left,
        until=right.until,
        conditions=tuple(str(condition) for condition in right.conditions),
    )
