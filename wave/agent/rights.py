"""Questions about rights, answered from what an agent knows at one moment."""

from collections.abc import Collection
from dataclasses import replace
from functools import cached_property
from math import inf

from wave.agent import wire
from wave.agent.knowledge import Knowledge
from wave.agent.views import edge, holding_view, path_ids, state_of
from wave.codec import id_text
from wave.dots import rules, search
from wave.dots.dot import Dot
from wave.dots.explain import explain
from wave.dots.explanation import Explanation
from wave.dots.facts import Facts
from wave.dots.holdings import Effective, holdings
from wave.dots.plan import Change, gains, losses
from wave.dots.proof import Proof
from wave.dots.request import Request, Statement
from wave.entities.entity import EVERYBODY
from wave.entities.keyring import Keyring
from wave.errors import Refused, SearchExhausted
from wave.limits import LIMITS
from wave.namespace.grant import Right
from wave.namespace.pattern import intersect


class Rights:
    """What is known at one moment (``now`` in UTC seconds). For one call: the objects behind it go on changing."""

    def __init__(self, knowledge: Knowledge, facts: Facts, now: int, keyring: Keyring) -> None:
        """Answer from ``knowledge`` and ``facts``; ``keyring`` has this home's own names for entities."""
        self.facts = facts
        self.now = now
        self._knowledge = knowledge
        self._keyring = keyring

    @cached_property
    def names(self) -> dict[str, str]:
        """What entities are called here: by an alias, or by this home's own name for them, which goes first.

        An alias that this home uses for somebody else is not shown: anyone may claim it.
        """
        own = {id_text(entity.id): name for name, entity in self._keyring}
        taken = {*own.values(), "everybody"}
        aliases = sorted(self.facts.aliases.items(), reverse=True)
        names = {id_text(target): label for label, target in aliases if label not in taken}
        names.update(own)
        names[id_text(EVERYBODY)] = "everybody"
        return names

    def name(self, identity: bytes) -> str:
        """Return what an entity is called here, or the first characters of its id."""
        return self.names.get(id_text(identity)) or rules.short(identity)

    def check_fresh(self) -> None:
        """Raise :class:`StaleFacts` or :class:`FactsAhead` unless the facts are recent enough to answer from."""
        rules.facts_fresh(self.facts, self.now, LIMITS.max_staleness, None)

    def prove(self, request: Request) -> Proof:
        """Return a shortest proof; :class:`Refused`, :class:`SearchExhausted`."""
        return search.find_proof(self._knowledge.graph, request, self.facts, now=self.now)

    def nearest(self, request: Request) -> Proof | None:
        """Return a proof, or one that fails for nothing but the values of ``request``: a no can then name the bound."""
        for asked in (request, replace(request, context={})):
            try:
                return self.prove(asked)
            except Refused:
                continue
        return None

    def explain(self, proof: Proof | None, request: Request, at_least: int | None = None) -> Explanation:
        """Explain a decision, with names; for a no it says who could give what is missing."""
        explanation = explain(proof, request, self.facts, now=self.now, at_least=at_least)
        if not explanation.allowed:
            held = {one: self._givers(one, request.namespace) for one in request.statements}
            explanation = explain(proof, request, self.facts, now=self.now, at_least=at_least, held=held)
        return explanation.worded(self.name)

    def _givers(self, statement: Statement, namespace: bytes) -> list[bytes]:
        try:
            found = search.holders(self._knowledge.graph, statement, namespace, self.facts, self.now)
        except SearchExhausted:
            return []
        return [identity for identity, holding in found.items() if holding.hops_left > 0]

    def explained(self, explanation: Explanation) -> wire.ExplanationReply:
        """Return an explanation in the form in which it is logged and told."""
        return wire.ExplanationReply(
            decision=explanation.decision,
            allowed=explanation.allowed,
            code=explanation.code,
            message=explanation.message,
            hint=explanation.hint,
            detail=explanation.to_json(),
            lines=tuple(explanation.lines(self.name)),
        )

    def graph(self, namespace: bytes) -> wire.GraphReply:
        """Draw up a namespace's delegations, dead ones too."""
        known, facts = self._knowledge, self.facts
        dots = sorted(
            known.graph.dots(namespace), key=lambda dot: (dot.created, known.heights.get(dot.id) or inf, dot.id)
        )
        people = dict.fromkeys([namespace, *(end for dot in dots for end in (dot.giver, dot.receiver))])
        gives = self._effective(dots, namespace)
        states = {one: state_of(facts.entities[one], facts, self.now) for one in people if one in facts.entities}
        return wire.GraphReply(
            namespace=id_text(namespace),
            nodes=tuple(
                wire.Node(id=id_text(one), name=self.name(one), state=states.get(one, "unknown")) for one in people
            ),
            edges=tuple(
                edge(dot, facts, self.now, known.heights.get(dot.id), effective=gives.get(dot)) for dot in dots
            ),
        )

    def _effective(self, dots: list[Dot], namespace: bytes) -> dict[Dot, bool]:
        """Tell of each DoT whether its giver holds some of it with a hop to spare; of none in too large a graph."""
        givers = dict.fromkeys(dot.giver for dot in dots)
        if len(givers) > LIMITS.graph_givers:
            return {}
        held = {
            giver: [
                right
                for right in holdings(self._knowledge.graph, giver, self.facts, self.now).rights
                if right.namespace == namespace and right.hops_left > 0
            ]
            for giver in givers
        }
        return {
            dot: dot.giver == namespace or any(_part_of(own, given) for own in held[dot.giver] for given in dot.grants)
            for dot in dots
        }

    def who(self, statement: Statement, namespace: bytes) -> wire.WhoReply:
        """Say who may do a thing; :class:`SearchExhausted`."""
        found = search.holders(self._knowledge.graph, statement, namespace, self.facts, self.now)
        return wire.WhoReply(
            holders=tuple(
                wire.Holder(
                    id=id_text(identity),
                    name=self.name(identity),
                    hops_left=holding.hops_left,
                    path=path_ids(holding.path),
                )
                for identity, holding in found.items()
            )
        )

    def what(self, subject: bytes) -> wire.WhatReply:
        """Say what an entity may do."""
        found = holdings(self._knowledge.graph, subject, self.facts, self.now)
        return wire.WhatReply(holdings=tuple(holding_view(right) for right in found.rights), complete=found.complete)

    def losses(self, commitments: Collection[bytes]) -> wire.LossesReply:
        """Say who would lose what if these commitments were revoked; :class:`SearchExhausted`."""
        found = losses(self._knowledge.graph, self.facts, commitments, now=self.now)
        return wire.LossesReply(losses=self._changes(found))

    def gains(self, dots: Collection[Dot]) -> wire.GainsReply:
        """Say who would gain what if these DoTs were given; :class:`SearchExhausted`."""
        return wire.GainsReply(gains=self._changes(gains(self._knowledge.graph, self.facts, dots, now=self.now)))

    def _changes(self, found: tuple[Change, ...]) -> tuple[wire.LossView, ...]:
        return tuple(
            wire.LossView(
                id=id_text(change.entity),
                name=self.name(change.entity),
                right=holding_view(change.right),
                instead=tuple(holding_view(right) for right in change.instead),
            )
            for change in found
        )


def _part_of(own: Effective, given: Right) -> bool:
    """Tell whether some of what is given is held."""
    return (
        own.permission_set == given.permission_set
        and own.permission in given.permissions
        and bool(intersect(own.pattern, given.pattern))
    )
