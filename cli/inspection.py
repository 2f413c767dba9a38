"""What ``inspect`` shows: what a file, an id or a name is, its fields, and whether it stands now and why not."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from cli import reference, ui
from cli.reference import Names
from cli.session import Session
from wave.agent.wire import FactsSince, FindObject
from wave.chain.staple import Staple, take_apart
from wave.codec import dearmour, id_text, parse_id
from wave.dots import proof as proofs
from wave.dots import rules
from wave.dots.dot import Dot
from wave.dots.facts import Facts
from wave.dots.proof import Proof
from wave.dots.request import Request, Statement
from wave.dots.rules import Path
from wave.entities import secret
from wave.entities.entity import EVERYBODY, Entity
from wave.entities.object import DOT, ENTITY, NAME, ROUTE, SignedObject, decode_object, from_text
from wave.errors import (
    BadSignature,
    Expired,
    MissingEntity,
    NotFound,
    NotYetValid,
    Revoked,
    Unavailable,
    UnknownObject,
    WaveError,
)
from wave.namespace.grant import Right
from wave.namespace.name import Name
from wave.namespace.pattern import Pattern
from wave.namespace.route import ACCEPT, OFFER, Route
from wave.times import instant_text, span_text

Thing = Entity | Dot | Name | Route


class Inspection(NamedTuple):
    """The same, for programs and for people."""

    document: dict[str, Any]
    lines: tuple[ui.Line, ...]


def inspection(session: Session, text: str) -> Inspection:
    """Return what ``text`` stands for; :class:`NotFound`, :class:`InputError`."""
    if text == reference.STDIN or reference.is_file(text) or _is_other_file(session, text):
        return _armoured(session, reference.read_any(text))
    identity = parse_id(text)
    if identity is None:
        found = reference.entity(session, text)
        if found.record is not None:
            return _show(session, found.record)
        identity = found.id
    if identity == EVERYBODY:
        return Inspection({"kind": "everybody", "id": id_text(identity)}, ("everybody: the receiver that anyone is",))
    try:
        return _signed(session, decode_object(session.call(FindObject(id=id_text(identity))).data))
    except UnknownObject as error:
        raise UnknownObject(error.message, hint="ask whoever named it for its file (.pub, .dot)") from None


def _is_other_file(session: Session, text: str) -> bool:
    """Tell whether ``text`` is a file of another ending that lies here, and no local name."""
    from pathlib import Path

    return parse_id(text) is None and session.settings.keyring.find(text) is None and Path(text).is_file()


def _armoured(session: Session, text: str) -> Inspection:
    text, staple = take_apart(text)
    label = dearmour(text)[0]
    if label == secret.LABEL:
        return _show(session, secret.public_part(text), holds="a secret file")
    if label == proofs.LABEL:
        return _show_proof(session, Proof.from_text(text), None if staple is None else Staple.from_text(staple))
    return _signed(session, from_text(text))


def _signed(session: Session, signed: SignedObject) -> Inspection:
    if signed.kind == ENTITY:
        return _show(session, Entity.from_object(signed))
    if signed.kind == DOT:
        return _show(session, Dot.from_object(signed))
    if signed.kind == NAME:
        return _show(session, Name.from_object(signed))
    if signed.kind == ROUTE:
        return _show(session, Route.from_object(signed))
    document = {"kind": signed.kind, "id": id_text(signed.id), "bytes": len(signed.to_bytes())}
    return Inspection(document, tuple(ui.fields(document.items())))


# What is known -----------------------------------------------------------------------------------------------------


class _Known:
    """What the registry says of some things: their heights, revocations, and the records of the entities concerned."""

    def __init__(self, session: Session, things: Iterable[Thing], records: Iterable[Entity] = ()) -> None:
        self.heights: dict[bytes, int | None] = {}
        self.names = Names(session)
        self.now = session.now()
        self.doubt = ""
        self._session = session
        self._entities = {record.id: record for record in records}
        self._revocations: dict[bytes, int] = {}
        self._unseen = False
        self.facts = Facts(-1, b"", 0, self._revocations, self._entities)
        try:
            for thing in things:
                self._look_up(thing)
            self._finish()
        except Unavailable as error:
            self.doubt = error.message
            ui.warn(f"whether it is revoked could not be told: {error.message}", error.hint)

    def _look_up(self, thing: Thing) -> None:
        self._seen(thing)
        for identity in _people(thing):
            if identity in self._entities:
                self._seen(self._entities[identity])
            elif identity != EVERYBODY:
                self._learn(identity)

    def _learn(self, identity: bytes) -> None:
        try:
            reply = self._session.call(FindObject(id=id_text(identity)))
        except NotFound:
            return
        self._entities[identity] = entity = Entity.from_bytes(reply.data)
        self._note(entity, reply.height, reply.revoked_at)

    def _seen(self, thing: Thing) -> None:
        if thing.id in self.heights:
            return
        try:
            reply = self._session.call(FindObject(id=id_text(thing.id)))
        except NotFound:
            self._unseen = True
        else:
            self._note(thing, reply.height, reply.revoked_at)

    def _note(self, thing: Thing, height: int | None, revoked_at: int | None) -> None:
        self.heights[thing.id] = height
        if revoked_at is not None:
            self._revocations[thing.fields.commitments[0]] = revoked_at

    def _finish(self) -> None:
        """Take the newest block, and when some object is in no block all revocations, of which one may be its own."""
        reply = self._session.call(FactsSince())
        for commitment, height in reply.revocations.items():
            self._revocations[parse_id(commitment) or b""] = height
        self.facts = Facts(reply.height, b"", reply.time, self._revocations, self._entities)

    def place(self, thing: Thing) -> str:
        """Say where the object stands."""
        if self.doubt:
            return "could not be told"
        if thing.id not in self.heights:
            return "no; not known to the agent either"
        height = self.heights[thing.id]
        return "no; kept here" if height is None else f"in block {height}"

    def faults(self, thing: Thing) -> list[WaveError]:
        """Return all that keeps the thing from being valid now."""
        if isinstance(thing, Entity):
            return _raised(lambda: rules.entity_alive(thing.id, thing.fields, self.facts, self.now), thing.check)
        if isinstance(thing, Dot):
            found = _raised(lambda: rules.dot_alive(thing, self.facts, self.now))
            found += self._signature(thing)
            return found + ([] if thing.receiver == EVERYBODY else self._living(thing.receiver))
        return _raised(lambda: _given_alive(thing, self.facts, self.now)) + self._signature(thing)

    def _signature(self, thing: Dot | Name | Route) -> list[WaveError]:
        giver = self._entities.get(thing.fields.giver)
        if giver is None:
            who = self.names.name(thing.fields.giver)
            return [MissingEntity(f"the giver's record is not known here, so {who}'s signature was not checked")]
        return _raised(lambda: thing.check(giver.verify_key)) + self._living(giver.id)

    def _living(self, identity: bytes) -> list[WaveError]:
        return _raised(lambda: rules.living(identity, {}, self.facts, self.now))


def _people(thing: Thing) -> tuple[bytes, ...]:
    """Return the ids of the entities whose records tell whether the thing holds."""
    if isinstance(thing, Dot):
        return (thing.giver, thing.receiver)
    return () if isinstance(thing, Entity) else (thing.fields.giver,)


def _raised(*checks: Any) -> list[WaveError]:
    found: list[WaveError] = []
    for check in checks:
        try:
            check()
        except WaveError as error:
            found.append(error)
    return found


def _given_alive(given: Name | Route, facts: Facts, now: int) -> None:
    height = facts.revoked_at(given.fields.commitments)
    if height is not None:
        raise Revoked(f"the {given.KIND} was taken back in block {height}")
    if now >= given.fields.expires:
        raise Expired(f"the {given.KIND} expired at {instant_text(given.fields.expires)}")
    if now < given.fields.created:
        raise NotYetValid(f"the {given.KIND} holds from {instant_text(given.fields.created)} on")


def _word(faults: list[WaveError], doubt: str) -> str:
    words = (
        (BadSignature, "forged"),
        (Revoked, "revoked"),
        (Expired, "expired"),
        (NotYetValid, "not yet valid"),
    )
    for kind, word in words:
        if any(isinstance(fault, kind) for fault in faults):
            return word
    if faults:
        return "unknown" if all(isinstance(fault, MissingEntity) for fault in faults) else "broken"
    return "unknown" if doubt else "valid"


# One object --------------------------------------------------------------------------------------------------------


def _show(session: Session, thing: Thing, holds: str = "") -> Inspection:
    known = _Known(session, [thing])
    faults = known.faults(thing)
    kind, pairs, document = _parts(thing, known.names, known.now)
    if holds:
        document["file"] = holds
    verdict = _word(faults, known.doubt)
    document |= {
        "height": known.heights.get(thing.id),
        "state": verdict,
        "faults": [fault.problem() for fault in faults],
        "checked_at": known.facts.height if not known.doubt else None,
    }
    lines = [
        *ui.fields([(kind, id_text(thing.id)), ("file", holds), *pairs, ("published", known.place(thing))]),
        *_verdict_lines(verdict, faults, known),
    ]
    return Inspection(document, tuple(lines))


def _verdict_lines(verdict: str, faults: list[WaveError], known: _Known) -> list[ui.Line]:
    at = "" if known.doubt else f" as of block {known.facts.height}"
    lines: list[ui.Line] = [(ui.state(verdict), at)]
    lines += [("  ", known.names.told(fault.message)) for fault in faults]
    return lines


def _parts(thing: Thing, names: Names, now: int) -> tuple[str, list[tuple[str, object]], dict[str, Any]]:
    """Return a thing's kind, its fields for people, and its fields for programs."""
    fields = thing.fields
    times: list[tuple[str, object]] = [("created", _time(fields.created, now)), ("expires", _time(fields.expires, now))]
    document: dict[str, Any] = {"id": id_text(thing.id), "created": fields.created, "expires": fields.expires}
    revokers = len(fields.commitments) - 1
    more: list[tuple[str, object]] = [("revokers", f"{revokers} besides its signer" if revokers else "")]
    document["further_revokers"] = revokers
    if isinstance(thing, Entity):
        document |= {
            "kind": "entity",
            "name": names.by_id.get(id_text(thing.id)),
            "contact": thing.contact,
            "comment": thing.comment,
            "verify_key": id_text(thing.verify_key),
            "exchange_key": id_text(thing.exchange_key),
        }
        about: list[tuple[str, object]] = [("name", document["name"]), ("contact", thing.contact)]
        return "entity", [*about, ("comment", thing.comment), *times, *more], document
    if isinstance(thing, Dot):
        document |= dot_document(thing, names)
        return "DoT", [*dot_fields(thing, names), *times, ("comment", thing.comment), *more], document
    if isinstance(thing, Route):
        document |= _route_document(thing)
        return "route", [*_route_fields(thing, names), *times, *more], document
    document |= {
        "kind": "name",
        "label": thing.fields.label,
        "giver": id_text(thing.fields.giver),
        "target": id_text(thing.fields.target),
    }
    said: list[tuple[str, object]] = [
        ("says", names.full(thing.fields.giver)),
        ("label", thing.fields.label),
        ("means", names.full(thing.fields.target)),
    ]
    return "name", [*said, *times, *more], document


def _route_fields(route: Route, names: Names) -> list[tuple[str, object]]:
    """Return what a route says, for people."""
    fields = route.fields
    place = "" if fields.namespace is None else names.full(fields.namespace)
    if fields.act == OFFER:
        return [("offers", names.full(fields.giver)), ("to carry", place)]
    if fields.act == ACCEPT:
        return [("says", names.full(fields.giver)), ("carried", place), ("by", names.full(route.router))]
    return [("router", names.full(fields.giver)), *(("is at", url) for url in fields.urls)]


def _route_document(route: Route) -> dict[str, Any]:
    """Return what a route says, for programs."""
    fields = route.fields
    return {
        "kind": "route",
        "act": fields.act,
        "giver": id_text(fields.giver),
        "router": id_text(route.router),
        "namespace": None if fields.namespace is None else id_text(fields.namespace),
        "urls": list(fields.urls),
    }


def dot_fields(dot: Dot, names: Names) -> list[tuple[str, object]]:
    """Return a DoT's parts for people."""
    gives: list[tuple[str, object]] = [
        ("gives" if place == 0 else "", right_text(right, names)) for place, right in enumerate(dot.grants)
    ]
    hops = "may be handed on once" if dot.indirections == 1 else f"may be handed on {dot.indirections} hops"
    return [
        ("from", names.full(dot.giver)),
        ("to", names.full(dot.receiver)),
        ("in", names.full(dot.namespace)),
        *gives,
        ("hops", hops if dot.indirections else "may not be handed on"),
    ]


def dot_document(dot: Dot, names: Names) -> dict[str, Any]:
    """Return a DoT's parts for programs."""
    ends = (dot.giver, dot.receiver, dot.namespace)
    return {
        "kind": "dot",
        "giver": id_text(dot.giver),
        "receiver": id_text(dot.receiver),
        "namespace": id_text(dot.namespace),
        "grants": [
            {
                "permission_set": None if right.permission_set is None else id_text(right.permission_set),
                "permissions": list(right.permissions),
                "pattern": right.pattern,
                "conditions": [str(condition) for condition in right.conditions],
            }
            for right in dot.grants
        ],
        "indirections": dot.indirections,
        "comment": dot.comment,
        "names": {text: names.by_id[text] for text in map(id_text, ends) if text in names.by_id},
    }


def right_text(right: Right, names: Names) -> str:
    """Return a right in words."""
    kind = "" if right.permission_set is None else f"{names.name(right.permission_set)}:"
    conditions = "".join(f", {condition}" for condition in right.conditions)
    return f"{kind}{','.join(right.permissions)} on {right.pattern}{conditions}"


def _time(seconds: int, now: int) -> str:
    ago = f"{span_text(now - seconds)} ago" if now >= seconds else f"in {span_text(seconds - now)}"
    return f"{instant_text(seconds)} ({ago})"


# Proofs ------------------------------------------------------------------------------------------------------------


def _show_proof(session: Session, proof: Proof, staple: Staple | None) -> Inspection:
    known = _Known(session, proof.dots, proof.entities.values())
    all_faults: list[WaveError] = []
    lines: list[ui.Line] = list(ui.fields([("proof", id_text(proof.id)), ("size", f"{len(proof.data)} bytes")]))
    document: dict[str, Any] = {"kind": "proof", "id": id_text(proof.id), "bytes": len(proof.data), "paths": []}
    for path in proof.paths:
        faults = _raised(lambda path=path: _leads_on(path), lambda path=path: rules.within_hops(path))
        hops = []
        ends = [known.names.name(path[0].giver), *(known.names.name(dot.receiver) for dot in path)]
        lines.append(" -> ".join(ends))
        for dot in path:
            wrong = known.faults(dot)
            word = _word(wrong, known.doubt)
            given = "; ".join(right_text(right, known.names) for right in dot.grants)
            lines.append(("  ", f"DoT {id_text(dot.id)}: {given}; ", ui.state(word)))
            hops.append({"dot": id_text(dot.id), "state": word, **dot_document(dot, known.names)})
            faults += wrong
        document["paths"].append({"hops": hops, "faults": [fault.problem() for fault in faults]})
        all_faults += faults
    if not proof.paths:
        lines.append("no path: good for a namespace's own acts")
    if staple is not None:
        block = staple.header
        document["staple"] = {
            "height": block.number,
            "block_hash": f"0x{block.hash.hex()}",
            "block_time": block.time,
            "bytes": len(staple.data),
        }
        lines.append(f"stapled to block {block.number} of {instant_text(block.time)}, hash 0x{block.hash.hex()}")
    verdict = _word(all_faults, known.doubt)
    document["state"] = verdict
    lines += _verdict_lines(verdict, all_faults, known)
    return Inspection(document, tuple(lines))


def _leads_on(path: Path) -> None:
    right = path[0].grants[0]
    statement = Statement(right.permissions[0], Pattern(right.pattern), right.permission_set)
    rules.follows(path, Request(path[-1].receiver, path[0].namespace, (statement,)))
