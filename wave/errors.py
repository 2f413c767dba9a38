"""Everything WAVE raises on purpose: one class per fault, each with a code that never changes meaning.

Callers catch a family (:class:`InputError`, :class:`Refused`, :class:`NotFound`, :class:`Unavailable`) or a leaf; a
daemon sends the code and its client raises the same class again (:func:`from_problem`).
"""

from collections.abc import Mapping
from typing import Any, ClassVar

_BY_CODE: dict[str, type["WaveError"]] = {}


class WaveError(Exception):
    """The root: a stable ``code``, a ``message`` that says what is wrong and a ``hint`` that says what to do next."""

    code: ClassVar[str] = "wave"
    http_status: ClassVar[int] = 500
    exit_status: ClassVar[int] = 3
    default_hint: ClassVar[str] = ""

    def __init__(self, message: str, *, hint: str | None = None, decision: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = self.default_hint if hint is None else hint
        self.decision = decision
        self.details: dict[str, Any] = {}  # further members of the problem details

    def __init_subclass__(cls, **kwargs: object) -> None:
        """Register the class under its code; a class that repeats another's code cannot be defined."""
        super().__init_subclass__(**kwargs)
        taken = _BY_CODE.setdefault(cls.code, cls)
        if taken is not cls:
            raise TypeError(f"error code {cls.code!r} belongs to {taken.__name__} already")

    def problem(self) -> dict[str, Any]:
        """Return the error as RFC 9457 problem details, the form it has on the wire."""
        details: dict[str, Any] = {
            "type": f"urn:wave:error:{self.code}",
            "title": type(self).__name__,
            "status": self.http_status,
            "detail": self.message,
            "code": self.code,
        }
        if self.hint:
            details["hint"] = self.hint
        if self.decision:
            details["decision"] = self.decision
        return {**self.details, **details}


class InputError(WaveError):
    """What was given is not well formed."""

    code = "input"
    http_status = 400
    exit_status = 3


class Refused(WaveError):
    """Checked, and the answer is no."""

    code = "refused"
    http_status = 403
    exit_status = 1


class NotFound(WaveError):
    """There is no such entity, DoT, name or decision."""

    code = "not_found"
    http_status = 404
    exit_status = 1


class Unavailable(WaveError):
    """Could not check. A no to a device, another thing to an operator; never a yes."""

    code = "unavailable"
    http_status = 503
    exit_status = 4


# What was given is not well formed ---------------------------------------------------------------------------------


class Malformed(InputError):
    """Bytes that are not the object they should be."""

    code = "object.malformed"


class NotCanonical(Malformed):
    """Bytes that decode, but are not the ones the encoder would write."""

    code = "object.not_canonical"


class UnknownVersion(Malformed):
    """An object of a version that this release does not know."""

    code = "object.unknown_version"
    default_hint = "it was made by a newer WAVE; upgrade to read it"


class WrongKind(Malformed):
    """An object of one kind where another is wanted."""

    code = "object.wrong_kind"


class TooLarge(InputError):
    """More bytes, cells, DoTs or other things than the named bound allows."""

    code = "limit.exceeded"


class HeaderTooLarge(TooLarge):
    """A request with a longer header field than a guard reads."""

    code = "http.header_too_large"
    http_status = 431
    default_hint = "show the proof when a session begins, in the body; requests then name it by its id"


class BodyTooLarge(TooLarge):
    """A request with a longer body than a guard reads."""

    code = "http.body_too_large"
    http_status = 413


class BadBatch(Malformed):
    """A batch that is not the one under the root it is named for, or that holds an object twice."""

    code = "batch.bad"


class BadArmour(InputError):
    """Text armour that is not exactly what the writer writes."""

    code = "armour.bad"
    default_hint = "copy the whole block again, from its BEGIN line to its END line"


class BadPattern(InputError):
    """A resource or pattern that breaks the rules of the notation."""

    code = "pattern.bad"
    default_hint = "write cells joined by '/', such as home/light0/control; '+' is one cell, one '*' any number"


class BadGrant(InputError):
    """Grant text that is not ``[set:]perm[,perm…]@namespace/pattern``."""

    code = "grant.bad"
    default_hint = "write it as perm[,perm…]@namespace/pattern, such as publish@home/light0/*"


class BadCondition(InputError):
    """A condition that cannot be read."""

    code = "condition.bad"


class BadTime(InputError):
    """A time or duration that cannot be read, or times in the wrong order."""

    code = "time.bad"
    default_hint = "write a duration as 45s, 90m, 12h, 30d, 8w or 10y, a time as 2026-11-21T08:00:00Z or UNIX seconds"


class BadName(InputError):
    """A label or name that breaks the rules for names."""

    code = "name.bad"
    default_hint = "a label is 1 to 32 of a-z, 0-9 and '-', and neither starts nor ends with '-'"


class BadRoute(InputError):
    """A route object that does not say what its act has to say, or an address by which no router is reached."""

    code = "route.bad"
    default_hint = "write an address as ws://, wss://, mqtt:// or mqtts://, HOST:PORT and a path; it holds no password"


class BadPassphrase(InputError):
    """The passphrase does not open the secret file."""

    code = "secret.passphrase"


class SecretFileMode(InputError):
    """A secret file that others on this machine can read."""

    code = "secret.mode"


class SecretFileCorrupt(InputError):
    """A secret file that is cut short or altered."""

    code = "secret.corrupt"
    default_hint = "restore it from a copy; WAVE writes secret files whole or not at all"


class AlreadyExists(InputError):
    """A file or entity that would be overwritten."""

    code = "exists"


class BadSetting(InputError):
    """A setting (environment variable, option or configuration file) that cannot be used."""

    code = "setting.bad"


class BadRequest(InputError):
    """A request to the agent that it does not understand."""

    code = "request.bad"


class WrongMethod(BadRequest):
    """A request to the agent with another HTTP method than its path takes."""

    code = "request.method"
    http_status = 405


class BadPayload(InputError):
    """A message's payload that is not what the device takes."""

    code = "payload.bad"


class BadQuery(InputError):
    """A question to a model, or feedback on an answer, that is not what the application or the model takes."""

    code = "query.bad"


class BadModel(InputError):
    """A model that cannot be loaded, or whose manifest cannot be read."""

    code = "model.bad"


class BadDataSet(InputError):
    """Recorded play that cannot be read."""

    code = "pong.data"


# Checked, and the answer is no -------------------------------------------------------------------------------------


class BadSignature(Refused):
    """A signature that does not verify, or a key or signature that the strict verifier does not accept."""

    code = "signature.bad"


class NoProof(Refused):
    """No chain of DoTs leads from the namespace to the subject for what is asked."""

    code = "proof.none"


class BrokenPath(Refused):
    """A path whose DoTs do not follow one another."""

    code = "proof.broken_path"


class WrongRoot(BrokenPath):
    """A path whose first giver is not the namespace."""

    code = "proof.wrong_root"


class WrongNamespace(BrokenPath):
    """A DoT about another namespace than the one asked about."""

    code = "proof.wrong_namespace"


class WrongSubject(BrokenPath):
    """A path that does not end at the subject."""

    code = "proof.wrong_subject"


class MissingEntity(BrokenPath):
    """A path through an entity whose record is neither in the proof nor in the facts."""

    code = "proof.missing_entity"


class TooManyHops(Refused):
    """A path longer than one of its givers allowed."""

    code = "dot.too_many_hops"


class OutOfScope(Refused):
    """A DoT that does not cover all that is asked: another permission, or a narrower pattern."""

    code = "dot.out_of_scope"


class Expired(Refused):
    """A DoT past its time."""

    code = "dot.expired"


class NotYetValid(Refused):
    """A DoT before its time."""

    code = "dot.not_yet_valid"


class Revoked(Refused):
    """A DoT that was taken back."""

    code = "dot.revoked"


class EntityExpired(Expired):
    """An entity past its time."""

    code = "entity.expired"


class EntityNotYetValid(NotYetValid):
    """An entity before its time."""

    code = "entity.not_yet_valid"


class EntityRevoked(Revoked):
    """An entity that was taken back, and with it every path through it."""

    code = "entity.revoked"


class ConditionFailed(Refused):
    """A condition of a DoT that does not hold."""

    code = "condition.failed"


class ConditionMissing(ConditionFailed):
    """A condition about a value that the request does not carry."""

    code = "condition.missing_value"


class ConditionUnknown(ConditionFailed):
    """A condition of a kind that this release does not know."""

    code = "condition.unknown"


class RateExceeded(ConditionFailed):
    """More uses within the time than a rate condition allows."""

    code = "condition.rate"
    default_hint = "wait, or ask for a higher rate"


class NameTaken(Refused):
    """A global alias that somebody has already."""

    code = "name.taken"
    default_hint = "aliases are first come, first served and for ever; choose another label"


class NameRevoked(Refused):
    """A signed name that its giver took back."""

    code = "name.revoked"


class Replayed(Refused):
    """A message that was accepted before."""

    code = "message.replayed"


class MessageStale(Refused):
    """A message from too long ago, or from the future."""

    code = "message.stale"
    default_hint = "compare the clocks of sender and receiver"


class BeforeRestart(MessageStale):
    """A message from before its receiver started, which may have accepted it already in its earlier life."""

    code = "message.before_restart"
    default_hint = "send it again"


class RolledBack(MessageStale):
    """A kept message that is older than one seen of the same sender at the same resource."""

    code = "message.rolled_back"
    default_hint = "whoever keeps the messages gave an old one, or two devices act as one entity with different clocks"


class WrongSender(Refused):
    """A message whose sender is not the subject of the proof it carries."""

    code = "message.wrong_sender"


class WrongProof(Refused):
    """A message that names another proof than the one beside it."""

    code = "message.wrong_proof"


class WrongPurpose(Refused):
    """A message signed for another act, or for another connection, than the one it is presented for."""

    code = "message.wrong_purpose"


class NotServed(Refused):
    """A namespace that the router does not carry."""

    code = "router.namespace"
    default_hint = "see 'wave router list NS' for who carries it; 'wave router run --namespace' says what one carries"


class WrongRouter(Refused):
    """A router that is another entity than the one expected, or cannot show that it is that one."""

    code = "router.wrong"
    default_hint = "another router stands at that address; see 'wave router list NS' for the right one"


class BrokerRefused(Refused):
    """What an MQTT broker did not let through, by its own rules."""

    code = "broker.refused"
    default_hint = "the broker's rules follow the grants; see 'wave what' for what the entity holds"


class WrongOrigin(Refused):
    """A request to the home's page that comes from another page, or that means another machine."""

    code = "page.origin"
    default_hint = "open the page by the address that 'wave home ui' printed"


class OwnerWanted(Refused):
    """Something on the home's page that its owner alone may do, asked without the owner's session."""

    code = "page.owner"
    http_status = 401
    default_hint = "open the owner's link that 'wave home ui --from OWNER.ent' printed; it works once"


class BadInvitation(Refused):
    """An invitation that is unknown, used, withdrawn or past its time."""

    code = "page.invitation"
    default_hint = "ask whoever sent it for a new link"


class Unauthorized(Refused):
    """A call to the agent without its token."""

    code = "agent.token"
    http_status = 401


class NotSigned(Refused):
    """An HTTP request that nobody signed."""

    code = "http.not_signed"
    http_status = 401
    default_hint = "sign it (RFC 9421) and show a proof, as wave.guard's clients do"


class BadHttpSignature(Refused):
    """A request's signature that cannot be read, or that covers less than it must."""

    code = "http.signature"
    http_status = 401
    default_hint = "the Accept-Signature header of this answer names what a signature must cover"


class ProofWanted(Refused):
    """A request that names its proof by an id which the guard has not seen, or has forgotten."""

    code = "proof.unknown"
    http_status = 401
    default_hint = "send the proof itself"


class BadDigest(Refused):
    """A request whose body is not the one that was signed."""

    code = "http.digest"
    default_hint = "sign the bytes as they are sent, and do not compress them afterwards"


class WrongAuthority(Refused):
    """A request that was made for another service than this one."""

    code = "http.authority"
    http_status = 421


class NotMapped(Refused):
    """A request of which no rule says what it needs: nobody may make it."""

    code = "guard.not_mapped"
    default_hint = "the service's rules name the methods and paths that it answers"


class UnknownSession(Refused):
    """A request under a session that is unknown here, has ended or was forgotten."""

    code = "session.unknown"
    default_hint = "begin a new session, or sign the request itself"


class BadLog(Refused):
    """A log of decisions of which something was altered, cut off or left out."""

    code = "log.altered"


class UnsignedModel(Refused):
    """A model without a manifest that says who signed it: nothing of it is loaded."""

    code = "model.unsigned"
    default_hint = "sign it with 'wave gateway sign'"


class ModelAltered(Refused):
    """A model that is not the one its manifest was signed for."""

    code = "model.altered"
    default_hint = "deploy the file that was signed, or have this one signed"


# There is no such thing --------------------------------------------------------------------------------------------


class UnknownEntity(NotFound):
    """No entity of that id, name or file is known here."""

    code = "entity.not_found"


class UnknownDot(NotFound):
    """No DoT of that id is known here."""

    code = "dot.not_found"


class UnknownName(NotFound):
    """No alias or signed name of that label."""

    code = "name.not_found"


class UnknownObject(NotFound):
    """No object of that id is known here."""

    code = "object.not_found"


class UnknownRouter(NotFound):
    """No router is offered, accepted and announced for that namespace."""

    code = "router.not_found"
    default_hint = "'wave router list NS' says what is there and what is missing"


class UnknownProof(NotFound):
    """A message that names a proof which the other side of the connection does not have, or has forgotten."""

    code = "proof.not_found"
    default_hint = "send the proof again"


class UnknownSubscription(NotFound):
    """No subscription of that number belongs to the connection that asks."""

    code = "subscription.not_found"


class UnknownDecision(NotFound):
    """No decision of that id is in the log."""

    code = "decision.not_found"


class MissingFile(NotFound):
    """No file of that name."""

    code = "file.not_found"


class UnknownModel(NotFound):
    """No model of that name, or no such version of it, is deployed."""

    code = "model.not_found"


class UnknownApplication(NotFound):
    """No application of that name is served."""

    code = "app.not_found"


class UnknownRun(NotFound):
    """No training of that kind, or of that id, was tracked here."""

    code = "pong.run"
    default_hint = "'wave pong train KIND' makes one; 'wave pong runs' lists those there are"


# Could not check ---------------------------------------------------------------------------------------------------


class StaleFacts(Unavailable):
    """The newest block seen is older than the caller accepts."""

    code = "facts.stale"
    default_hint = "the chain has stopped or cannot be reached; see 'wave status'"


class FactsBehind(Unavailable):
    """The newest block seen is below the height the caller asked for."""

    code = "facts.behind"
    default_hint = "wait for the replica to reach that height; see 'wave status'"


class FactsAhead(Unavailable):
    """The newest block carries a time far in the future of this clock."""

    code = "facts.ahead"
    default_hint = "this machine's clock is behind the chain's; set it"


class NotStapled(Unavailable):
    """A commitment of which the staple says nothing: it may be revoked or not."""

    code = "facts.not_stapled"
    default_hint = "staple the proof again, all of it, with 'wave prove --staple'"


class UntrustedBlock(Unavailable):
    """A staple that speaks of another block than the one that is trusted."""

    code = "facts.untrusted_block"
    default_hint = "staple the proof again, or learn the hash of the staple's block from somebody you trust"


class ChainUnavailable(Unavailable):
    """The chain cannot be reached, or answers what cannot be believed."""

    code = "chain.unavailable"
    default_hint = "does it run ('wave chain run' for one's own), and do WAVE_CHAIN or 'wave chain use' name it?"


class AnswerTooLarge(ChainUnavailable):
    """An answer of a node that is longer than anything that was asked for may be."""

    code = "chain.answer_too_large"


class WrongChain(ChainUnavailable):
    """The chain at that address is not the one expected, or has no registry."""

    code = "chain.wrong"
    default_hint = "name the right one with WAVE_CHAIN or 'wave chain use'"


class NoQuorum(ChainUnavailable):
    """Not as many endpoints as must agree said the same."""

    code = "chain.quorum"
    default_hint = "see which of the endpoints answer, and whether they follow the same chain"


class BadHeader(ChainUnavailable):
    """A block header that does not parse, or does not hash to its block's hash."""

    code = "chain.header"


class BadStateProof(ChainUnavailable):
    """A Merkle proof that does not lead from the block's state root to the registry and its storage."""

    code = "chain.state_proof"


class ChainReorganised(ChainUnavailable):
    """The chain changed further back than a replica follows: what was final is not any more. A person has to decide."""

    code = "chain.reorganised"


class TransactionFailed(Unavailable):
    """A transaction that the chain did not carry out."""

    code = "chain.transaction"


class FeesTooHigh(Unavailable):
    """The chain asks more for a transaction than the payer's limits allow; nothing was sent."""

    code = "chain.fees"
    default_hint = "wait until the chain is less busy, or allow a higher fee"


class OutOfFunds(Unavailable):
    """The payer's account cannot pay for a transaction."""

    code = "chain.funds"


class StillPending(Unavailable):
    """A transaction that was sent and is not in a block yet; it may still be carried out."""

    code = "chain.pending"


class SearchExhausted(Unavailable):
    """A search that met its bound before it could tell."""

    code = "search.exhausted"


class AgentUnavailable(Unavailable):
    """The agent is not running, or went away in the middle of a call."""

    code = "agent.unavailable"
    default_hint = "start it with 'wave agent run', or unset WAVE_AGENT to work without one"


class UnlockedBroker(Unavailable):
    """A broker that would stay open were its lock to end: nothing is opened there."""

    code = "broker.unlocked"
    default_hint = "run the broker with 'wave mqtt broker', which bridges the lock's will to its commands"


class NotRead(Unavailable):
    """The answer to a query was not read for too long, and so it ended."""

    code = "router.not_read"
    default_hint = "ask again, for a narrower pattern"


class RouterUnavailable(Unavailable):
    """The message router cannot be reached."""

    code = "router.unavailable"


class BrokerUnavailable(RouterUnavailable):
    """An MQTT broker cannot be reached, or the connection to it was lost."""

    code = "broker.unavailable"


class ReplayWindowFull(Unavailable):
    """So many messages are remembered that one more could not be told from a replay."""

    code = "message.window_full"
    default_hint = "messages with a shorter lifetime are forgotten sooner"


class RouterFull(Unavailable):
    """The router keeps as many messages as it may and cannot keep one more."""

    code = "router.full"


class DeviceFault(Unavailable):
    """A device's machine, or the driver of its hardware, failed."""

    code = "device.fault"
    default_hint = "see the device's log"


class ModelFault(Unavailable):
    """A model that raised, hung or died over a question."""

    code = "model.fault"
    default_hint = "see the gateway's log"


class ModelRaised(ModelFault):
    """A model that raised over a question; its process is none the worse for it."""

    code = "model.raised"


class ReplicaLost(ModelFault):
    """A model's process that died or hung."""

    code = "model.lost"


class ModelBusy(Unavailable):
    """So many questions wait for a model that one more is not taken."""

    code = "model.busy"
    default_hint = "ask again later, or scale the model up"


class ModelLate(Unavailable):
    """A model that had not answered when the time for it was over."""

    code = "model.late"


class ClusterUnavailable(Unavailable):
    """The Ray cluster that a gateway's models are to run on is not there, or lets nobody in."""

    code = "ray.unavailable"
    default_hint = "start one with 'ray start --head', or let the gateway start its own: --ray-address local"


class GuardClosed(Unavailable):
    """A guard that was asked when its service was stopping, or had stopped."""

    code = "guard.closed"
    default_hint = "ask again when the service runs again"


class EntityInUse(Unavailable):
    """Another device acts with this one's entity."""

    code = "entity.in_use"
    default_hint = "give each device an entity of its own"


class StateLocked(Unavailable):
    """Another process owns the state directory."""

    code = "state.locked"
    default_hint = "wait for the other command, or talk to the running agent with WAVE_AGENT"


class StateUnwritable(Unavailable):
    """The state directory cannot be written: read-only, or the disk is full. Nothing was changed."""

    code = "state.unwritable"
    default_hint = "free some space or choose another directory with WAVE_HOME"


class MissingLibrary(Unavailable):
    """A library that this needs, and that WAVE does without otherwise, is not installed."""

    code = "library.missing"
    exit_status = 4


class PortInUse(Unavailable):
    """Another process listens on that port or socket already."""

    code = "net.port_in_use"
    default_hint = "choose another port, or stop the other process"


def codes() -> Mapping[str, type[WaveError]]:
    """Return every code with its class."""
    return dict(_BY_CODE)


def from_problem(details: Mapping[str, Any]) -> WaveError:
    """Return the error that ``details`` (RFC 9457) stand for, of the class that was raised at the other end."""
    cls = _BY_CODE.get(str(details.get("code")), Unavailable)
    decision = details.get("decision")
    return cls(
        str(details.get("detail", "the agent answered something unreadable")),
        hint=str(details.get("hint", "")),
        decision=str(decision) if decision else None,
    )
