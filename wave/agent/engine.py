"""The engine: what the agent does, as plain calls on one thread. The daemon serves it; a one-shot command owns one."""

import os
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, cast

from wave import __version__
from wave.agent import wire
from wave.agent.following import REPLICA, LazyChain
from wave.agent.history import Cursor, History
from wave.agent.knowledge import CHECKED_TOGETHER, Each, Knowledge, Thing, parse
from wave.agent.metrics import Deciding
from wave.agent.registrar import Registrar, audit_promise
from wave.agent.rights import Rights
from wave.agent.routes import Routes
from wave.agent.settings import EMBEDDED, Settings, shown_url
from wave.agent.store import Store
from wave.agent.views import path_ids
from wave.chain.contract import Anchored
from wave.chain.follower import Follower
from wave.codec import id_text, parse_id
from wave.dots import rules
from wave.dots.dot import Dot
from wave.dots.explanation import Explanation
from wave.dots.facts import Facts
from wave.dots.proof import Proof
from wave.dots.request import Request
from wave.dots.verify import verify
from wave.entities.entity import Entity
from wave.entities.object import decode_object
from wave.errors import (
    BadRequest,
    ChainReorganised,
    ChainUnavailable,
    NoQuorum,
    NotFound,
    Refused,
    Revoked,
    StateUnwritable,
    UnknownDecision,
    UnknownEntity,
    UnknownObject,
    WaveError,
    WrongChain,
    codes,
)
from wave.limits import LIMITS

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

R = TypeVar("R")


class Engine:
    """One agent's state and everything that it can be asked. For one thread.

    ``refresh_after`` is the age in seconds from which on what was last heard from the chain is asked for again.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], float],
        wait: float,
        refresh_after: float,
        passphrase: Callable[[str], str] | None,
        daemon: bool = False,
    ) -> None:
        """Use :meth:`open`."""
        self.settings = settings
        self._clock = clock
        self._refresh_after = refresh_after
        self._chain = LazyChain(settings, wait, passphrase)
        self._follower = Follower(
            self._chain,
            settings.home / REPLICA,
            wait=wait,
            confirmations=settings.confirmations,
            start=settings.from_block,
        )
        self._chain.newest = lambda: (self._follower.facts.height, self._follower.facts.block_hash)
        try:
            self._store = Store(settings.home / "agent.sqlite")
        except BaseException:
            self._follower.close()
            raise
        try:
            self.registrar = Registrar(
                settings.home,
                self._follower,
                client=lambda: self._chain.writer,
                sync=self._sync,
                height_of=self._height_of,
                asks_nobody=lambda: self._chain.asks_nobody,
                sources=settings.sources,
                daemon=daemon,
            )
        except BaseException:
            self._store.close()
            self._follower.close()
            raise
        self._daemon = daemon
        self._checkers: ThreadPoolExecutor | None = None
        self.progress: Callable[[int, int], None] | None = None
        """Told, while blocks are taken in, the height that was reached and that of the chain's head."""
        self._doubt: WaveError | None = None  # what is known may be what the chain took back
        self._heard = float(self._follower.facts.time) if settings.chain == EMBEDDED else float("-inf")
        self._history = History(settings.home, self._chain, self._follower, settings.confirmations)
        self._known: Knowledge | None = None
        self._generation = 0
        self._learned = 0

    @classmethod
    def open(
        cls,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.time,
        wait: float = LIMITS.lock_wait,
        refresh_after: float | None = None,
        passphrase: Callable[[str], str] | None = None,
        daemon: bool = False,
    ) -> Self:
        """Open the state directory, creating it for its owner alone; :class:`StateLocked`, :class:`StateUnwritable`.

        ``passphrase`` returns that of the payer's key file, which it is given, when something is written; None: nobody
        can be asked. By default the chain is asked before every check, except the embedded one, which cannot move while
        this process owns its directory: there only when the facts have become stale. A ``daemon`` lets objects that
        are queued wait for others to share their batch, and waits for no source of batches.
        """
        try:
            settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StateUnwritable(f"cannot create {settings.home}: {error.strerror}") from None
        if refresh_after is None:
            refresh_after = LIMITS.max_staleness / 2 if settings.chain == EMBEDDED else 0.0
        return cls(settings, clock=clock, wait=wait, refresh_after=refresh_after, passphrase=passphrase, daemon=daemon)

    def close(self) -> None:
        """Close everything, the chain last."""
        if self._checkers is not None:
            self._checkers.shutdown(cancel_futures=True)
        self.registrar.close()
        self._store.close()
        self._follower.close()
        self._chain.close()

    def __enter__(self) -> Self:
        """Return the engine."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the engine."""
        self.close()

    def call(self, call: wire.Call[R]) -> R:
        """Carry out a call and return its reply, or raise a :class:`WaveError`."""
        return cast("R", _ACTS[type(call)](self, call))

    # What is known -------------------------------------------------------------------------------------------------

    def _now(self) -> int:
        return int(self._clock())

    def _facts(self, *, at_least: int | None = None, anew: bool = False) -> Facts:
        """Return the newest facts that can be had, the chain asked again when that is due, or at once with ``anew``.

        When it cannot be asked, what was heard before stands; whoever uses the facts judges whether it is fresh enough.
        """
        facts = self._follower.facts
        anew = anew and not (self.settings.chain == EMBEDDED and facts.height >= 0 and not self._chain.connected)
        due = self._clock() - self._heard >= self._refresh_after
        if due or anew or (at_least is not None and facts.height < at_least):
            try:
                facts = self._sync()
            except (WrongChain, ChainReorganised, NoQuorum) as error:
                self._doubt = error
                raise  # what was heard before may be what the chain took back
            except ChainUnavailable:
                if facts.height < 0:
                    raise
        if self._doubt is not None:  # nor does silence after it make that any better
            raise type(self._doubt)(self._doubt.message, hint=self._doubt.hint)
        return replace(facts, entities=self.knowledge.entities)

    def _sync(self) -> Facts:
        facts = self._follower.sync(self.progress)
        self._doubt = None
        self._heard = self._clock()
        self.registrar.after_sync()
        return facts

    def _height_of(self, identity: bytes) -> int | None:
        return self.knowledge.heights.get(identity)

    @property
    def knowledge(self) -> Knowledge:
        """Objects known here, brought up to what the follower has taken in."""
        if self._known is None or self._generation != self._follower.generation:
            self._generation, self._learned = self._follower.generation, 0
            self._known = Knowledge(self._follower)
            for data in self._store.objects():
                self._known.learn(decode_object(data), kept=True)
        for entry in self._follower.objects(after=self._learned):
            self._known.learn(entry)
            self._learned = entry.seq
        self._known.settle()
        return self._known

    # Acts ----------------------------------------------------------------------------------------------------------

    def status(self, _: wire.Status) -> wire.StatusReply:
        """Ask the chain, and say how everything is; :class:`ChainUnavailable`."""
        facts = self._sync()
        known = self.knowledge
        withheld = self.registrar.withheld()
        return wire.StatusReply(
            version=__version__,
            chain=",".join(shown_url(url) for url in self.settings.urls) or EMBEDDED,
            chain_id=self._chain.client.chain_id,
            registry=self._chain.client.registry,
            height=facts.height,
            block_hash=facts.block_hash.hex(),
            block_time=facts.time,
            age=max(0, self._now() - facts.time),
            counts=wire.Counts(
                entities=len(known.entities),
                dots=len(known.graph),
                names=len(known.names),
                aliases=len(facts.aliases),
                revocations=len(facts.revocations),
                unreadable=sum(self._follower.refused().values()),
            ),
            peers=0,
            pid=os.getpid(),
            home=str(self.settings.home),
            pending=self.registrar.pending(),
            withheld=len(withheld),
            withheld_batches=tuple(_withheld(one) for one in withheld[:_WITHHELD_SHOWN]),
            own=self.settings.own,
            confirmations=self.settings.confirmations,
            endpoints=max(1, len(self.settings.urls)),
            disagreements=tuple(
                f"{name} contradicted the other endpoints {'once' if times == 1 else f'{times} times'}"
                for name, times in sorted(self._chain.client.disagreements.items())
            ),
        )

    def publish(self, call: wire.Publish) -> wire.PublishReply:
        """Check every object, then publish or keep all of them; one that is published already costs nothing."""
        signed = [decode_object(data) for data in call.objects]
        known = self.knowledge
        things = [parse(one) for one in signed]
        known.check_all(things, [one for one in things if isinstance(one, Entity)], self._each(len(things)))
        published: dict[bytes, int] = {}
        if call.keep_only:
            self._store.keep(signed)
            for one in signed:
                known.learn(one, kept=True)
        else:
            self._sync()
            known = self.knowledge
            _check_givers(things, known)
            _check_unrevoked(things, self._follower.facts)
            missing = dict.fromkeys(one for one in signed if one.id not in known.heights)
            if missing:
                published = self.registrar.publish(list(missing))
                self._sync()
        heights = self.knowledge.heights
        return wire.PublishReply(
            objects=tuple(
                wire.Published(id=id_text(one.id), kind=one.kind, height=published.get(one.id, heights.get(one.id)))
                for one in signed
            )
        )

    def anchor(self, call: wire.Anchor) -> wire.AnchorReply:
        """Check every object, then queue all of them; without a daemon, they are anchored before this returns."""
        things = [parse(decode_object(data)) for data in call.objects]
        self._sync()
        known = self.knowledge
        fresh = [one for one in things if isinstance(one, Entity)] + self._queued_givers(things, known)
        known.check_all(things, fresh, self._each(len(things)))
        _check_givers(things, known, {one.id for one in fresh})
        _check_unrevoked(things, self._follower.facts)
        heights = self._heights(things)
        missing: dict[bytes, Thing] = {}
        for one in things:
            if heights[one.id] is None:
                missing.setdefault(one.id, one)
        promises = self.registrar.queue(list(missing.values())) if missing else {}
        roots = () if self._daemon else tuple(entry.act.key.hex() for entry in self.registrar.flush())
        if roots:
            self._sync()
            heights = self._heights(things)
        return wire.AnchorReply(
            objects=tuple(
                wire.Queued(
                    id=id_text(one.id),
                    kind=one.KIND,
                    height=heights[one.id],
                    promise=promises[one.id].to_bytes() if one.id in promises else None,
                )
                for one in things
            ),
            roots=roots,
        )

    def _queued_givers(self, things: list[Thing], known: Knowledge) -> list[Entity]:
        """Return the records of givers that were queued before and are not anchored yet."""
        found = [self.registrar.outbox.queued(giver) for giver in _givers(things) if giver not in known.heights]
        return [Entity.from_bytes(data) for data in found if data is not None]

    def _heights(self, things: list[Thing]) -> dict[bytes, int | None]:
        """Return by id where things stand, None for those that are not published.

        Where nothing waits for confirmations, whatever was published was learned: the disk need not be asked.
        """
        known, all_learned = self.knowledge, not self.settings.confirmations
        return {
            one.id: None
            if all_learned and isinstance(one, Dot) and known.graph.find(one) is None
            else known.heights.get(one.id)
            for one in things
        }

    def _each(self, count: int) -> Each:
        """Return how to go through so many signatures: on all cores, when there are enough of them."""
        cores = os.cpu_count() or 1
        if cores == 1 or count <= CHECKED_TOGETHER:
            return map
        if self._checkers is None:
            from concurrent.futures import ThreadPoolExecutor

            self._checkers = ThreadPoolExecutor(min(cores, _MOST_CHECKERS), thread_name_prefix="signatures")
        return self._checkers.map

    def audit(self, call: wire.Audit) -> wire.AuditReply:
        """Say of each promise whether it was kept, and which batches are withheld."""
        facts = self._facts(anew=True)
        known = self.knowledge
        records = {one.id: one for one in map(Entity.from_bytes, call.records)}
        keyring = {entity.id: entity for _, entity in self.settings.keyring}
        client = self._chain.client
        return wire.AuditReply(
            height=facts.height,
            promises=tuple(
                audit_promise(
                    data,
                    self._follower,
                    known.check,
                    {**keyring, **known.entities, **records}.get,
                    chain=(client.chain_id, bytes.fromhex(client.registry.removeprefix("0x"))),
                )
                for data in call.promises
            ),
            withheld=tuple(_withheld(one) for one in self.registrar.withheld()[:_WITHHELD_SHOWN]),
        )

    def tick(self) -> None:
        """Do what a daemon does when nobody asks: anchor what is due and send what is pending."""
        self.registrar.tick()

    def revoke(self, call: wire.Revoke) -> wire.HeightReply:
        """Publish preimages and see them counted."""
        if not all(len(preimage) == _PREIMAGE_BYTES for preimage in call.preimages) or not call.preimages:
            raise BadRequest("a revocation is one or more preimages of 32 bytes")
        height = self.registrar.revoke(call.preimages)
        self._sync()
        return wire.HeightReply(height=height)

    def claim(self, call: wire.Claim) -> wire.ClaimReply:
        """Take an alias; :class:`NameTaken`."""
        height, committed = self.registrar.claim(call.label, wire.identity(call.target))
        self._sync()
        return wire.ClaimReply(height=height, committed=committed)

    def find_object(self, call: wire.FindObject) -> wire.ObjectReply:
        """Find an object among the published and the kept; :class:`UnknownObject`."""
        identity = wire.identity(call.id)
        facts = self._facts()
        entry = self.knowledge.published(identity)
        data = entry.data if entry else self._store.object(identity)
        if data is None:
            facts = self._facts(anew=True)
            entry = self.knowledge.published(identity)
            data = entry.data if entry else None
        if data is None:
            raise UnknownObject(f"no object {call.id} is known here")
        thing = parse(decode_object(data))
        return wire.ObjectReply(
            id=call.id,
            kind=decode_object(data).kind,
            data=data,
            height=entry.height if entry else None,
            revoked_at=facts.revoked_at(thing.fields.commitments),
        )

    def resolve(self, call: wire.Resolve) -> wire.ResolveReply:
        """Say what a name means; :class:`NotFound`."""
        facts = self._facts()
        try:
            identity, name = self.knowledge.resolve(call.name, facts, self._now())
        except NotFound:
            facts = self._facts(anew=True)
            identity, name = self.knowledge.resolve(call.name, facts, self._now())
        record = facts.entities.get(identity)
        return wire.ResolveReply(
            id=id_text(identity),
            by="name" if name else "id" if parse_id(call.name) else "alias",
            declaration=None if name is None else id_text(name.id),
            record=None if record is None else record.to_bytes(),
        )

    def find_router(self, call: wire.FindRouter) -> wire.RouterReply:
        """Find a namespace's designated router; :class:`UnknownRouter`, :class:`NotFound`."""
        namespace = wire.identity(self.resolve(wire.Resolve(name=call.namespace)).id)
        try:
            return self._routes().find(namespace)
        except NotFound:
            return self._routes(anew=True).find(namespace)  # what is missing may have come a moment ago

    def routers(self, call: wire.Routers) -> wire.RoutersReply:
        """List the routers of a namespace, or of all."""
        named = None if call.namespace is None else self.resolve(wire.Resolve(name=call.namespace)).id
        return self._routes(anew=True).routers(None if named is None else wire.identity(named))

    def _routes(self, *, anew: bool = False) -> Routes:
        rights = self._rights(anew=anew)
        rights.check_fresh()
        return Routes(self.knowledge, rights)

    def names(self, _: wire.Names) -> wire.NamesReply:
        """List the names known for entities."""
        return wire.NamesReply(names=self._rights().names)

    def facts_since(self, call: wire.FactsSince) -> wire.FactsReply:
        """Give what a checker elsewhere needs."""
        facts = self._facts()
        whole = not self._follower.has_block(call.height, parse_id(call.block_hash) or b"")
        after = -1 if whole else call.height
        return wire.FactsReply(
            height=facts.height,
            block_hash=id_text(facts.block_hash),
            time=facts.time,
            whole=whole,
            revocations={id_text(commitment): height for commitment, height in self._follower.revocations(after=after)},
        )

    # What happened -------------------------------------------------------------------------------------------------

    def log(self, call: wire.Log) -> wire.LogReply:
        """List what the registry said about a namespace."""
        self._facts(anew=True)
        return self._history.log(wire.identity(call.namespace), call.after, self.knowledge)

    def watcher(self, since: str | None) -> Cursor:
        """Return where somebody who watches begins: after a place on the chain, or now; :class:`BadRequest`."""
        self._facts(anew=True)
        return self._history.cursor(since)

    def follow(self) -> tuple[int, bytes, int]:
        """Ask the chain what is new; return something that differs when anything that watchers are told may."""
        self._facts()
        self.knowledge  # noqa: B018 - brings itself up to date
        return self._follower.facts.height, self._follower.facts.block_hash, self._learned

    def watched(self, cursor: Cursor, namespace: bytes | None) -> tuple[list[wire.Happening], Cursor, bool]:
        """Return what happened after ``cursor``, as far as it is known, how far that goes, and whether more did."""
        return self._history.page(cursor, namespace, self.knowledge)

    # Rights --------------------------------------------------------------------------------------------------------

    def _rights(self, *, anew: bool = False) -> Rights:
        facts = self._facts(anew=anew)
        return Rights(self.knowledge, facts, self._now(), self.settings.keyring)

    def _explain(self, rights: Rights, proof: Proof | None, request: Request, at_least: int | None) -> Explanation:
        """Explain a decision and put it in the log."""
        explanation = rights.explain(proof, request, at_least)
        self._store.log_decision(explanation.decision, wire.encode(rights.explained(explanation)))
        return explanation

    def _refused(
        self, rights: Rights, proof: Proof | None, request: Request, refusal: WaveError, at_least: int | None = None
    ) -> WaveError:
        """Return the error for a no: explained in the log, worded with names, and with the decision's id."""
        explanation = self._explain(rights, proof, request, at_least)
        kind = codes().get(explanation.code, type(refusal))
        return kind(explanation.message, hint=explanation.hint, decision=explanation.decision)

    def prove(self, call: wire.Prove) -> wire.ProofReply:
        """Build a shortest proof from what is known. A no is logged and explained; :class:`Refused`."""
        request, rights = call.ask.request(), self._rights()
        rights.check_fresh()
        try:
            proof = rights.prove(request)
        except Refused:
            rights = self._rights(anew=True)  # what is missing may have come a moment ago
            try:
                proof = rights.prove(request)
            except Refused as refusal:
                raise self._refused(rights, rights.nearest(request), request, refusal) from None
        people = [record.expires for record in proof.records.values()]
        return wire.ProofReply(
            id=id_text(proof.id),
            proof=proof.to_bytes(),
            paths=tuple(path_ids(path) for path in proof.paths),
            until=min([dot.expires for dot in proof.dots] + people),
        )

    def staple(self, call: wire.Staple) -> wire.StapleReply:
        """Staple a proof to the newest block; :class:`ChainUnavailable`."""
        from wave.chain.staple import Staple

        staple = Staple.build(self._chain.client, Proof.from_bytes(call.proof))
        header = staple.header
        return wire.StapleReply(
            staple=staple.to_bytes(), height=header.number, block_hash=header.hash.hex(), time=header.time
        )

    def verify(self, call: wire.Verify) -> wire.VerdictReply:
        """Check a proof, log the decision, and raise it when it is a no.

        With ``at``, what is known now is asked about another time; whether it is fresh is still asked of now.
        """
        proof, request = Proof.from_bytes(call.proof), call.ask.request()
        facts, now = self._facts(at_least=call.at_least), self._now()
        if call.at is not None:
            rules.facts_fresh(facts, now, LIMITS.max_staleness, call.at_least)
            facts, now = replace(facts, time=call.at), call.at
        rights = Rights(self.knowledge, facts, now, self.settings.keyring)
        try:
            with Deciding(proof):
                grant = verify(proof, request, facts, now=now, at_least=call.at_least)
        except WaveError as error:
            raise self._refused(rights, proof, request, error, call.at_least) from None
        explanation = self._explain(rights, proof, request, call.at_least)
        return wire.VerdictReply(
            decision=explanation.decision,
            height=grant.height,
            until=grant.until,
            paths=tuple(path_ids(path) for path in grant.paths),
            rates=tuple(str(rate.condition) for rate in grant.rates),
        )

    def why(self, call: wire.Why) -> wire.ExplanationReply:
        """Explain a decision of the log, or what the request would be answered now."""
        if call.decision is not None:
            logged = self._store.decision(call.decision)
            if logged is None:
                raise UnknownDecision(
                    f"decision {call.decision[:60]!r} is not in this agent's log",
                    hint="ask the agent or device that made it",
                )
            return wire.decode(logged, wire.ExplanationReply)
        if call.ask is None:
            raise BadRequest("say a decision's id, or what is asked")
        request, rights = call.ask.request(), self._rights(anew=True)
        proof = rights.nearest(request) if call.proof is None else Proof.from_bytes(call.proof)
        return rights.explained(self._explain(rights, proof, request, None))

    def graph(self, call: wire.Graph) -> wire.GraphReply:
        """Draw up a namespace's delegations, dead ones too."""
        return self._rights(anew=True).graph(wire.identity(call.namespace))

    def who(self, call: wire.Who) -> wire.WhoReply:
        """Say who may do a thing."""
        ask = wire.Ask(subject=call.namespace, namespace=call.namespace, statements=(call.wanted,))
        request, rights = ask.request(), self._rights(anew=True)
        rights.check_fresh()
        return rights.who(request.statements[0], request.namespace)

    def what(self, call: wire.What) -> wire.WhatReply:
        """Say what an entity may do."""
        rights = self._rights(anew=True)
        rights.check_fresh()
        return rights.what(wire.identity(call.subject))

    def losses(self, call: wire.Losses) -> wire.LossesReply:
        """Say who would lose what by a revocation; :class:`UnknownObject` for what is not known here."""
        rights = self._rights(anew=True)
        rights.check_fresh()
        found = [parse(decode_object(self.find_object(wire.FindObject(id=one)).data)) for one in call.objects]
        return rights.losses([commitment for thing in found for commitment in thing.fields.commitments])

    def gains(self, call: wire.Gains) -> wire.GainsReply:
        """Say who would gain what by DoTs that nobody has signed yet."""
        rights = self._rights(anew=True)
        rights.check_fresh()
        return rights.gains([Dot.from_bytes(one) for one in call.dots])


def _check_unrevoked(things: list[Thing], facts: Facts) -> None:
    """Raise :class:`Revoked` for what is void before it is published: the same words, signed again in one second."""
    for thing in things:
        height = facts.revoked_at(thing.fields.commitments)
        if height is not None:
            raise Revoked(
                f"{rules.short(thing.id)} was revoked in block {height} already, for ever",
                hint="sign it again a second later: then it is another one",
            )


def _givers(things: Iterable[Thing]) -> Iterable[bytes]:
    """Return who gave these things, each once, in their order."""
    return dict.fromkeys(thing.fields.giver for thing in things if not isinstance(thing, Entity))


def _withheld(anchor: Anchored) -> wire.Withheld:
    return wire.Withheld(root=anchor.root.hex(), count=str(anchor.count), height=anchor.height)


def _check_givers(things: list[Thing], known: Knowledge, also: Collection[bytes] = ()) -> None:
    """Raise :class:`UnknownEntity` when a giver's record would not be on the chain: nobody could check what it gave."""
    together = {thing.id for thing in things}
    for giver in _givers(things):
        if giver not in together and giver not in also and giver not in known.heights:
            raise UnknownEntity(
                f"the record of the giver {rules.short(giver)} is only kept here; nobody could check what it gave",
                hint="publish it with 'wave mkentity --publish-again FILE', or keep this here too",
            )


_PREIMAGE_BYTES: Final = 32
_WITHHELD_SHOWN: Final = 64
_MOST_CHECKERS: Final = 8  # threads
_ACTS: Final[dict[type[wire.Call[Any]], Callable[[Engine, Any], Any]]] = {
    wire.Status: Engine.status,
    wire.Publish: Engine.publish,
    wire.Anchor: Engine.anchor,
    wire.Audit: Engine.audit,
    wire.Revoke: Engine.revoke,
    wire.Claim: Engine.claim,
    wire.FindObject: Engine.find_object,
    wire.Resolve: Engine.resolve,
    wire.Names: Engine.names,
    wire.FindRouter: Engine.find_router,
    wire.Routers: Engine.routers,
    wire.Prove: Engine.prove,
    wire.Staple: Engine.staple,
    wire.Verify: Engine.verify,
    wire.Why: Engine.why,
    wire.Graph: Engine.graph,
    wire.Who: Engine.who,
    wire.What: Engine.what,
    wire.Losses: Engine.losses,
    wire.Gains: Engine.gains,
    wire.Log: Engine.log,
    wire.FactsSince: Engine.facts_since,
}
