"""What the agent is asked and what it answers: one record per call, JSON on the wire, described as OpenAPI.

Ids are text (43 characters of URL-safe base64), other bytes are standard base64, times are UTC seconds.
A call's class names its reply, so that client and engine are typed alike; an error is an RFC 9457 problem.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import msgspec

from wave import errors
from wave.codec import Time, id_text, parse_id
from wave.dots.request import Request, Statement
from wave.errors import BadRequest
from wave.namespace.pattern import Pattern

R = TypeVar("R")
M = TypeVar("M", bound="Message")
Height = Annotated[int, msgspec.Meta(ge=-1, le=2**53)]


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """Base of everything that travels between agent and client; none refers to itself, so none need be collected."""


class Call(Message, Generic[R], frozen=True, kw_only=True):
    """A question to the agent; ``R`` is its answer. The docstring is its summary in the API's description."""

    path: ClassVar[str]


class Wanted(Message, frozen=True, kw_only=True):
    """One thing wanted: a permission (of the built-in set, or of the entity named) on a resource or pattern."""

    permission: str
    pattern: str
    permission_set: str | None = None


class Ask(Message, frozen=True, kw_only=True):
    """Who wants to do what where, and the values that conditions ask about."""

    subject: str
    namespace: str
    statements: tuple[Wanted, ...]
    context: dict[str, int | float] = msgspec.field(default_factory=dict)

    def request(self) -> Request:
        """Return the request that this asks about; :class:`InputError`."""
        return Request(
            identity(self.subject),
            identity(self.namespace),
            tuple(
                Statement(
                    one.permission,
                    Pattern(one.pattern),
                    None if one.permission_set is None else identity(one.permission_set),
                )
                for one in self.statements
            ),
            self.context,
        )

    @classmethod
    def of(cls, request: Request) -> "Ask":
        """Return the form of ``request`` that travels."""
        return cls(
            subject=id_text(request.subject),
            namespace=id_text(request.namespace),
            statements=tuple(
                Wanted(
                    permission=one.permission,
                    pattern=str(one.pattern),
                    permission_set=None if one.permission_set is None else id_text(one.permission_set),
                )
                for one in request.statements
            ),
            context={name: one if isinstance(one, int) else float(one) for name, one in request.context.items()},
        )


def identity(text: str) -> bytes:
    """Return the id (32 bytes) that ``text`` stands for; :class:`BadRequest` when it is none."""
    found = parse_id(text)
    if found is None:
        raise BadRequest(f"{text[:60]!r} is not an id")
    return found


# Replies -----------------------------------------------------------------------------------------------------------


class Counts(Message, frozen=True, kw_only=True):
    """How many objects the agent knows, how many commitments are revoked, and how many events were unreadable."""

    entities: int
    dots: int
    names: int
    aliases: int = 0
    revocations: int
    unreadable: int


class Withheld(Message, frozen=True, kw_only=True):
    """An anchored batch whose objects nobody hands out: its root, how many they are, and the block that anchors it."""

    root: str
    count: str
    height: int


class StatusReply(Message, frozen=True, kw_only=True):
    """The state of the agent and of the chain that it follows.

    ``own``: whether what is granted is published unless one says otherwise; ``pending``: objects on their way to the
    chain; ``withheld``: anchored batches whose objects nobody gives; ``disagreements``: endpoints that said something
    else than the others, or nothing.
    """

    version: str
    chain: str
    chain_id: int
    registry: str
    height: int
    block_hash: str
    block_time: int
    age: int
    counts: Counts
    peers: int
    pid: int
    home: str
    own: bool = False
    confirmations: int = 0
    endpoints: int = 1
    pending: int = 0
    withheld: int = 0
    withheld_batches: tuple[Withheld, ...] = ()
    disagreements: tuple[str, ...] = ()


class Published(Message, frozen=True, kw_only=True):
    """One object's place in the registry; ``height`` is None for one that is only kept here."""

    id: str
    kind: str
    height: int | None


class PublishReply(Message, frozen=True, kw_only=True):
    """Where each object ended up, in the order given."""

    objects: tuple[Published, ...]


class Queued(Message, frozen=True, kw_only=True):
    """An object that will be anchored; ``height`` where it stands already, ``promise`` the signed word for it."""

    id: str
    kind: str
    height: int | None
    promise: bytes | None


class AnchorReply(Message, frozen=True, kw_only=True):
    """What became of each object, in the order given; ``roots`` are of batches that were anchored at once."""

    objects: tuple[Queued, ...]
    roots: tuple[str, ...]


class PromiseView(Message, frozen=True, kw_only=True):
    """What became of a promise: ``kept``, ``pending``, ``broken``, ``unknown`` (it cannot be told) or ``void``.

    ``received`` and ``by`` are heights, ``height`` that of the block that kept it, ``withheld`` the roots of batches in
    which the object may be.
    """

    promise: str
    promiser: str
    object: str
    received: int
    by: int
    verdict: str
    reason: str
    height: int | None
    withheld: tuple[str, ...]


class AuditReply(Message, frozen=True, kw_only=True):
    """The promises in the order given, as of the block at ``height``; and every batch that is withheld."""

    height: int
    promises: tuple[PromiseView, ...]
    withheld: tuple[Withheld, ...]


class HeightReply(Message, frozen=True, kw_only=True):
    """The block that carries the act."""

    height: int


class RouterView(Message, frozen=True, kw_only=True):
    """A router of a namespace: the acceptance that counts, the offer and the endpoint as ids, and until when all hold.

    ``designated`` is the one that carries the namespace; of another one, ``lacks`` says why it does not.
    """

    namespace: str
    router: str
    urls: tuple[str, ...]
    accepted_by: str | None
    accept: str | None
    offer: str | None
    endpoint: str | None
    until: int | None
    designated: bool
    lacks: str


class RouterReply(Message, frozen=True, kw_only=True):
    """The router that carries a namespace, where it is reached (the best URL first), and until when that holds.

    ``accept``, ``offer`` and ``endpoint`` are the ids of the objects that say so.
    """

    namespace: str
    router: str
    urls: tuple[str, ...]
    accepted_by: str
    accept: str
    offer: str
    endpoint: str
    until: int


class RoutersReply(Message, frozen=True, kw_only=True):
    """Routers of a namespace, or of all, the designated ones first; ``complete`` is false when there are more."""

    routers: tuple[RouterView, ...]
    complete: bool = True


class ClaimReply(Message, frozen=True, kw_only=True):
    """The block from which on an alias stands, and the block that holds the commitment to it, where that is known."""

    height: int
    committed: int | None = None


class ObjectReply(Message, frozen=True, kw_only=True):
    """An object's bytes and what the registry says of it."""

    id: str
    kind: str
    data: bytes
    height: int | None
    revoked_at: int | None


class ResolveReply(Message, frozen=True, kw_only=True):
    """What a name means here: the entity's id, and its record where it is known.

    ``by`` is the kind of name (``id``, ``alias`` or ``name``), ``declaration`` the id of a signed name's object.
    """

    id: str
    by: str
    declaration: str | None
    record: bytes | None


class NamesReply(Message, frozen=True, kw_only=True):
    """Names of entities as a person would show them: id to name."""

    names: dict[str, str]


class ProofReply(Message, frozen=True, kw_only=True):
    """A proof's bytes, how many DoTs each of its paths has, and until when it holds."""

    id: str
    proof: bytes
    paths: tuple[tuple[str, ...], ...]
    until: int


class StapleReply(Message, frozen=True, kw_only=True):
    """A staple's bytes, and the block that it is about: height, hash in hexadecimal, time."""

    staple: bytes
    height: int
    block_hash: str
    time: int


class VerdictReply(Message, frozen=True, kw_only=True):
    """A yes: its decision id, the block that it rests on, until when it holds."""

    decision: str
    height: int
    until: int
    paths: tuple[tuple[str, ...], ...]
    rates: tuple[str, ...]


class ExplanationReply(Message, frozen=True, kw_only=True):
    """A decision explained: for programs as ``detail``, for people as ``lines``."""

    decision: str
    allowed: bool
    code: str
    message: str
    hint: str
    detail: dict[str, Any]
    lines: tuple[str, ...]


class GrantView(Message, frozen=True, kw_only=True):
    """One right of a DoT, readable."""

    permission_set: str | None
    permissions: tuple[str, ...]
    pattern: str
    conditions: tuple[str, ...]


class Edge(Message, frozen=True, kw_only=True):
    """A DoT in a namespace's graph.

    ``effective`` says whether the giver holds anything of it to give; None where that was not looked at.
    """

    dot: str
    giver: str
    receiver: str
    grants: tuple[GrantView, ...]
    indirections: int
    created: int
    expires: int
    state: str  # valid, expired, not yet valid, revoked
    height: int | None
    comment: str
    effective: bool | None


class Node(Message, frozen=True, kw_only=True):
    """An entity in a namespace's graph, with the name shown for it."""

    id: str
    name: str
    state: str


class GraphReply(Message, frozen=True, kw_only=True):
    """Who holds what in a namespace, and from whom."""

    namespace: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


class Holder(Message, frozen=True, kw_only=True):
    """Somebody who holds what was asked about, with the hops that are left and the DoTs by which it came."""

    id: str
    name: str
    hops_left: int
    path: tuple[str, ...]


class WhoReply(Message, frozen=True, kw_only=True):
    """Everybody who may."""

    holders: tuple[Holder, ...]


class HoldingView(Message, frozen=True, kw_only=True):
    """One thing that an entity may do."""

    namespace: str
    permission_set: str | None
    permission: str
    pattern: str
    hops_left: int
    until: int
    conditions: tuple[str, ...]


class WhatReply(Message, frozen=True, kw_only=True):
    """All that an entity may do; ``complete`` is false when a bound cut the list."""

    holdings: tuple[HoldingView, ...]
    complete: bool


class LossView(Message, frozen=True, kw_only=True):
    """A right that somebody would lose, and what is left in its place: narrower, shorter or under more conditions.

    Or, of a gain, the right that somebody would have, and what it has already.
    """

    id: str
    name: str
    right: HoldingView
    instead: tuple[HoldingView, ...]


class LossesReply(Message, frozen=True, kw_only=True):
    """Everything that would be lost; what everybody loses stands there once."""

    losses: tuple[LossView, ...]


class GainsReply(Message, frozen=True, kw_only=True):
    """Everything that would be gained; what everybody gains stands there once."""

    gains: tuple[LossView, ...]


class FactsReply(Message, frozen=True, kw_only=True):
    """The newest block seen, and what was revoked: commitments as text, each with its height.

    ``whole`` says that these are all revocations, not only those that came after the block asked about.
    """

    height: int
    block_hash: str
    time: int
    whole: bool
    revocations: dict[str, int]


class Happening(Message, frozen=True, kw_only=True, omit_defaults=True):
    """Something that the registry said: a ``delegation``, ``revocation``, ``name``, ``alias`` or ``route``.

    The watch stream tells two things more: ``block`` (all up to this block was told) and ``reorg`` (the chain changed:
    what came after this height is void, and is told anew). ``id`` is its place, ``<height>-<index>``; in the stream it
    also says how far objects that came late were told, so that another stream goes on exactly after it. ``time`` is its
    block's, in UTC seconds. ``signer`` signed it; nobody signs a revocation, but what it takes back (``what``,
    ``object``) was signed by ``signer``, and ``by_signer`` says whether the commitment was that one's own.
    """

    id: str
    kind: str
    height: int
    time: int | None = None
    signer: str | None = None
    object: str | None = None
    namespace: str | None = None
    receiver: str | None = None
    grants: tuple[GrantView, ...] = ()
    indirections: int = 0
    expires: int | None = None
    label: str | None = None
    target: str | None = None
    act: str | None = None
    urls: tuple[str, ...] = ()
    what: str | None = None
    by_signer: bool | None = None
    commitment: str | None = None
    block_hash: str | None = None


class LogReply(Message, frozen=True, kw_only=True):
    """What concerns a namespace, in the chain's order.

    ``next`` is where the next call goes on, None at the end; ``unknown`` counts revocations of things not known here.
    """

    namespace: str
    height: int
    entries: tuple[Happening, ...]
    next: str | None
    unknown: int


# Calls -------------------------------------------------------------------------------------------------------------


class Status(Call[StatusReply], frozen=True, kw_only=True):
    """Say how the agent and its chain are."""

    path = "status"


class Publish(Call[PublishReply], frozen=True, kw_only=True):
    """Check signed objects and publish them to the registry, or with ``keep_only`` keep them here."""

    path = "publish"
    objects: tuple[bytes, ...]
    keep_only: bool = False


class Anchor(Call[AnchorReply], frozen=True, kw_only=True):
    """Check signed objects and queue them, to be anchored together under one Merkle root; they are on the disk then.

    An agent that was given an entity to promise in the name of says by which block they will be anchored.
    """

    path = "anchor"
    objects: tuple[bytes, ...]


class Audit(Call[AuditReply], frozen=True, kw_only=True):
    """Say of each promise (an object's bytes) whether it was kept; ``records`` are promisers that may not be known."""

    path = "audit"
    promises: tuple[bytes, ...] = ()
    records: tuple[bytes, ...] = ()


class Revoke(Call[HeightReply], frozen=True, kw_only=True):
    """Publish preimages (32 bytes each); whatever committed to them is revoked for ever."""

    path = "revoke"
    preimages: tuple[bytes, ...]


class Claim(Call[ClaimReply], frozen=True, kw_only=True):
    """Take a global alias for an entity, first come, first served: first a commitment to it, then the alias itself."""

    path = "claim"
    label: str
    target: str


class FindObject(Call[ObjectReply], frozen=True, kw_only=True):
    """Find an object by its id."""

    path = "object"
    id: str


class Resolve(Call[ResolveReply], frozen=True, kw_only=True):
    """Say what an id, an alias or a signed name (label.giver) means."""

    path = "resolve"
    name: str


class Names(Call[NamesReply], frozen=True, kw_only=True):
    """List the names that are known for entities."""

    path = "names"


class FindRouter(Call[RouterReply], frozen=True, kw_only=True):
    """Find the router that carries a namespace, which is named by its id or a name: offered, accepted and announced."""

    path = "router"
    namespace: str


class Routers(Call[RoutersReply], frozen=True, kw_only=True):
    """List the routers that were offered to or accepted for a namespace (an id or a name), or for any."""

    path = "routers"
    namespace: str | None = None


class Prove(Call[ProofReply], frozen=True, kw_only=True):
    """Build a shortest proof that the subject may do what it asks, from the DoTs known here."""

    path = "prove"
    ask: Ask


class Staple(Call[StapleReply], frozen=True, kw_only=True):
    """Prove against the newest block's header what of a proof is revoked and what is not, to check it offline."""

    path = "staple"
    proof: bytes


class Verify(Call[VerdictReply], frozen=True, kw_only=True):
    """Check a proof; a no is an error that carries the decision's id."""

    path = "verify"
    proof: bytes
    ask: Ask
    at: Time | None = None
    at_least: Height | None = None


class Why(Call[ExplanationReply], frozen=True, kw_only=True):
    """Explain a decision of the log by its id, or what a request would be answered now."""

    path = "why"
    decision: str | None = None
    ask: Ask | None = None
    proof: bytes | None = None


class Graph(Call[GraphReply], frozen=True, kw_only=True):
    """Draw up a namespace's delegations."""

    path = "graph"
    namespace: str


class Who(Call[WhoReply], frozen=True, kw_only=True):
    """Say who may do a thing."""

    path = "who"
    namespace: str
    wanted: Wanted


class What(Call[WhatReply], frozen=True, kw_only=True):
    """Say what an entity may do."""

    path = "what"
    subject: str


class Losses(Call[LossesReply], frozen=True, kw_only=True):
    """Say who would lose what if DoTs or entities (by their ids) were revoked, before anything is signed."""

    path = "losses"
    objects: tuple[str, ...]


class Gains(Call[GainsReply], frozen=True, kw_only=True):
    """Say who would gain what if these DoTs were given, whose signatures are not looked at: before they are signed."""

    path = "gains"
    dots: tuple[bytes, ...]


class FactsSince(Call[FactsReply], frozen=True, kw_only=True):
    """Say what the registry's newest block is and what was revoked since a known one, for checks made elsewhere.

    When the chain does not have the known block (it changed, or it is long ago), the answer holds all revocations.
    """

    path = "facts"
    height: Height = -1
    block_hash: str = ""


class Log(Call[LogReply], frozen=True, kw_only=True):
    """List what the registry said about a namespace: delegations, revocations and names, each with block and time.

    ``after`` is the place to go on from, ``<height>-<index>``, or empty for the beginning.
    """

    path = "log"
    namespace: str
    after: str = ""


CALLS: tuple[type[Call[Any]], ...] = (
    Status,
    Publish,
    Anchor,
    Audit,
    Revoke,
    Claim,
    FindObject,
    Resolve,
    Names,
    FindRouter,
    Routers,
    Prove,
    Staple,
    Verify,
    Why,
    Graph,
    Who,
    What,
    Losses,
    Gains,
    Log,
    FactsSince,
)
BY_PATH: Mapping[str, type[Call[Any]]] = {call.path: call for call in CALLS}


def reply_type(call: type[Call[Any]]) -> type[msgspec.Struct]:
    """Return the class of a call's answer."""
    for base in getattr(call, "__orig_bases__", ()):
        for argument in getattr(base, "__args__", ()):
            if isinstance(argument, type) and issubclass(argument, msgspec.Struct):
                return argument
    raise TypeError(f"{call.__name__} does not say what it is answered with")


def encode(message: msgspec.Struct | Mapping[str, Any]) -> bytes:
    """Return a message as JSON."""
    return msgspec.json.encode(message)


def decode(data: bytes, kind: type[M]) -> M:
    """Return the message of ``kind`` in JSON that this program wrote itself."""
    return msgspec.json.decode(data, type=kind)


def decode_happening(data: bytes) -> Happening:
    """Return what an event of the watch stream tells; :class:`AgentUnavailable` when it is no agent's."""
    try:
        return msgspec.json.decode(data, type=Happening)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise errors.AgentUnavailable("the agent's stream holds something that is no agent's") from None


def decode_problem(data: bytes) -> errors.WaveError:
    """Return the error that problem details in JSON stand for."""
    try:
        return errors.from_problem(msgspec.json.decode(data, type=dict[str, Any]))
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return errors.AgentUnavailable("the agent's address answered something that is no agent's answer")


def decode_call(path: str, body: bytes) -> Call[Any]:
    """Return the call that a request's path and body make; :class:`BadRequest`."""
    kind = BY_PATH.get(path)
    if kind is None:
        raise BadRequest(f"there is no call {path[:60]!r}", hint="see /openapi.json")
    try:
        call: Call[Any] = msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the body is not what {path!r} takes: {error}") from None
    return call


def decode_reply(call: Call[R], status: int, body: bytes) -> R:
    """Return the answer to ``call``, or raise the error that the agent raised."""
    try:
        if status != 200:
            raise errors.from_problem(msgspec.json.decode(body, type=dict[str, Any]))
        answer: R = msgspec.json.decode(body, type=reply_type(type(call)))  # type: ignore[assignment]
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise errors.AgentUnavailable(
            f"the agent's address answered something that is no agent's answer (HTTP {status})",
            hint="see whether WAVE_AGENT names an agent",
        ) from None
    return answer


def schemas_of(types: list[type[msgspec.Struct]]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the JSON schemas of some messages, and the components that they refer to, by name."""
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    return list(schemas), components
