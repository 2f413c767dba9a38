"""The lock: Mosquitto's dynamic-security rules, written from the grants and kept in step, so that it refuses too.

Every entity is a client of the broker with a role of its own, and all of them are behind one gate: a role that, when it
is shut, denies everything. It is open only while this process has fresh facts and answers the broker. The line's will
is the command that shuts the gate, and a bridge from the broker to itself carries it to where commands are taken, so
that a lock which is killed, or hangs, shuts the gate by its silence.
"""

import asyncio
import base64
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

from wave.bus.connection import Clock, FactsSource
from wave.bus.message import PUBLISH, SUBSCRIBE
from wave.bus.mqtt_line import Account, Broker, Carried, Line, Will, connected
from wave.bus.mqtt_topic import CREDENTIALS, DENIED, PROOF, ROOT, credentials_topic, denied_topic, filters
from wave.bus.standing import Held, Standing
from wave.codec import encode, id_text, parse_id
from wave.dots import rules
from wave.entities import keys
from wave.entities.entity import EVERYBODY
from wave.errors import BrokerRefused, BrokerUnavailable, NotFound, TooLarge, Unavailable, UnlockedBroker, WaveError
from wave.limits import LIMITS
from wave.namespace.pattern import Pattern

CONTROL: Final = "$CONTROL/dynamic-security/v1"
GATE_TOPIC: Final = f"{ROOT}/lock/gate"
GATE: Final = "wave-gate"
STRANGERS: Final = "wave-strangers"
ROLE: Final = "wave-of-"
PASSWORD_BYTES: Final = 24

Command: TypeAlias = dict[str, Any]
Tell: TypeAlias = Callable[[str], None]

_COMMANDS: Final = 64  # in one message
_ANSWER: Final = 5.0
_BACKOFF_MOST: Final = 5.0
_FIRST: Final = 10  # the gate's priority among a client's roles
_ALL: Final = ("publishClientSend", "publishClientReceive", "subscribeLiteral", "subscribePattern")
_log = logging.getLogger(__name__)


class Rule(NamedTuple):
    """One thing that the broker lets through."""

    kind: str
    topic: str

    def command(self) -> dict[str, Any]:
        """Return its form in a command."""
        return {"acltype": self.kind, "topic": self.topic, "priority": 0, "allow": True}


def gate(*, shut: bool) -> Command:
    """Return the command that shuts or opens the gate: with it shut, whoever is behind it may say and hear nothing.

    (Mosquitto asks its rules about every message both ways; the sessions themselves stay.)
    """
    acls = [{"acltype": kind, "topic": "#", "priority": 1, "allow": False} for kind in _ALL] if shut else []
    return {"command": "modifyRole", "rolename": GATE, "acls": acls}


def rules_of(identity: bytes, held: Iterable[tuple[bytes, Held]]) -> tuple[Rule, ...]:
    """Return the rules for an entity that holds rights, each in a namespace; none when it holds nothing.

    They match exactly the topics of the resources that the rights cover; :class:`TooLarge`.
    """
    found: dict[Rule, None] = {}
    for namespace, right in held:
        for topic in filters(namespace, right.pattern):
            if right.permission == PUBLISH:
                found[Rule("publishClientSend", topic)] = None
            else:
                found[Rule("subscribePattern", topic)] = None
                found[Rule("publishClientReceive", topic)] = None
        if len(found) > LIMITS.mqtt_rules:
            raise TooLarge(f"{rules.short(identity)} needs more than {LIMITS.mqtt_rules} rules")
    return (*found, *_common(identity)) if found else ()


def _common(identity: bytes) -> tuple[Rule, ...]:
    """Return what everybody with a right needs: proofs, and notes of denial to others and to itself."""
    own_proofs, proofs = f"{ROOT}/{PROOF}/{id_text(identity)}/+", f"{ROOT}/{PROOF}/+/+"
    notes, own_notes = f"{ROOT}/{DENIED}/+", denied_topic(identity)
    return (
        Rule("publishClientSend", own_proofs),
        Rule("publishClientReceive", proofs),
        Rule("subscribePattern", proofs),
        Rule("publishClientSend", notes),
        Rule("publishClientReceive", own_notes),
        Rule("subscribePattern", own_notes),
    )


class Control:
    """The broker's command topic, over one line: commands go out, and their answers come back by number."""

    def __init__(self, line: Line) -> None:
        """Talk over ``line``, whose messages :meth:`listen` reads."""
        self._line = line
        self._number = 0
        self._waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}

    async def open(self) -> None:
        """Begin to hear answers; :class:`BrokerRefused` when the account may not."""
        await self._line.hear([f"{CONTROL}/response"], kept=False)

    async def listen(self) -> None:
        """Read answers until the line ends."""
        while True:
            carried = await self._line.receive()
            with suppress(ValueError, AttributeError, TypeError):
                for answer in json.loads(carried.payload)["responses"]:
                    waiting = self._waiting.get(answer.get("correlationData"))
                    if waiting is not None and not waiting.done():
                        waiting.set_result(answer)

    async def do(self, *commands: Command, by: str = CONTROL) -> list[dict[str, Any]]:
        """Carry commands out and return the answers; :class:`BrokerUnavailable` when one is missing."""
        answers: list[dict[str, Any]] = []
        for start in range(0, len(commands), _COMMANDS):
            answers += await self._do(commands[start : start + _COMMANDS], by)
        return answers

    async def _do(self, commands: tuple[Command, ...], by: str) -> list[dict[str, Any]]:
        loop = asyncio.get_running_loop()
        numbered: list[Command] = []
        for command in commands:
            self._number += 1
            numbered.append({**command, "correlationData": str(self._number)})
        waiting: dict[str, asyncio.Future[dict[str, Any]]] = {
            one["correlationData"]: loop.create_future() for one in numbered
        }
        self._waiting.update(waiting)
        try:
            await self._line.send(Carried(by, json.dumps({"commands": numbered}).encode()))
            async with asyncio.timeout(_ANSWER):
                return list(await asyncio.gather(*waiting.values()))
        except TimeoutError:
            raise BrokerUnavailable("the broker does not answer commands") from None
        finally:
            for number, future in waiting.items():
                self._waiting.pop(number, None)
                future.cancel()

    async def must(self, *commands: Command) -> None:
        """Carry commands out; :class:`BrokerRefused` when one was not."""
        for answer in await self.do(*commands):
            if "error" in answer:
                raise BrokerRefused(f"the broker did not carry out {answer.get('command')}: {answer['error']}", hint="")


@dataclass(frozen=True, slots=True)
class Setup:
    """What a lock needs: a broker and an account there, namespaces, and somebody to ask.

    It looks every ``beat`` seconds; the broker shuts the gate by itself at once when the connection breaks, and 1.5
    times ``silence`` seconds after the last word. ``tell`` hears, in words, of what an operator should know.
    """

    broker: Broker
    account: Account
    namespaces: tuple[bytes, ...]
    standing: Standing
    facts: FactsSource
    clock: Clock
    draw: Callable[[int], bytes]
    tell: Tell = _log.warning
    beat: float = 0.5
    silence: int = 10
    max_staleness: int = LIMITS.max_staleness


class Lock:
    """Keeps a broker's rules in step with the grants in some namespaces: ``await lock.run()``."""

    def __init__(self, setup: Setup) -> None:
        """Lock as ``setup`` says."""
        self.setup = setup
        self.open = asyncio.Event()
        """Set while the gate is open."""
        self._told: str | None = None

    async def run(self) -> None:
        """Keep the broker locked until cancelled, over as many connections as it takes."""
        backoff = self.setup.beat
        while True:
            begun = asyncio.get_running_loop().time()
            try:
                await self._connection()
            except WaveError as error:
                where = f"the broker at {self.setup.broker.url}"
                self.say(error.message if error.message.startswith(where) else f"{where}: {error.message}")
            finally:
                self.open.clear()
            if asyncio.get_running_loop().time() - begun > _BACKOFF_MOST:
                backoff = self.setup.beat
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, _BACKOFF_MOST)

    async def _connection(self) -> None:
        will = Will(GATE_TOPIC, json.dumps({"commands": [gate(shut=True)]}).encode())
        async with connected(self.setup.broker, self.setup.account, keepalive=self.setup.silence, will=will) as line:
            control = Control(line)
            await control.open()
            listening = asyncio.create_task(control.listen())
            keeping = asyncio.create_task(_Keeping(self, line, control).keep())
            try:
                await asyncio.wait([listening, keeping], return_when=asyncio.FIRST_COMPLETED)
                for task in (keeping, listening):
                    if task.done():
                        task.result()
            finally:
                keeping.cancel()
                await asyncio.wait([keeping])
                with suppress(WaveError):
                    await control.do(gate(shut=True))
                listening.cancel()
                await asyncio.wait([listening])

    def recovered(self) -> None:
        """Tell that it is well again, if something else was told."""
        if self._told is not None:
            self._told = None
            self.setup.tell("the gate is open again")

    def say(self, text: str) -> None:
        """Tell something, once until something else is told."""
        if text != self._told:
            self._told = text
            self.setup.tell(text)


class _Keeping:
    """One connection's work: what stands on the broker, and what should."""

    def __init__(self, lock: Lock, line: Line, control: Control) -> None:
        self._lock = lock
        self._setup = lock.setup
        self._line = line
        self._control = control
        self._stands: dict[bytes, tuple[Rule, ...]] = {}
        self._holds_until = 0
        self._ends = rules.FOREVER
        self._look_again = 0
        self._height = -1
        self._left_out: Counter[str] = Counter()

    async def keep(self) -> None:
        """Begin with everything shut and nobody known; then follow the grants."""
        await self._begin()
        loop, checked = asyncio.get_running_loop(), float("-inf")
        while True:
            if loop.time() - checked > _GATE_EVERY:
                await self._check_gate()
                checked = loop.time()
            await self._step()
            await asyncio.sleep(self._setup.beat)

    async def _begin(self) -> None:
        roles = (await self._control.do({"command": "listRoles", "count": -1}))[0].get("data", {}).get("roles", [])
        clients = (
            (await self._control.do({"command": "listClients", "count": -1}))[0].get("data", {}).get("clients", [])
        )
        if GATE not in roles:
            await self._control.must({"command": "createRole", "rolename": GATE})
        await self._control.must(
            gate(shut=True),
            {
                "command": "setDefaultACLAccess",
                "acls": [
                    *[
                        {"acltype": kind, "allow": False}
                        for kind in ("publishClientSend", "publishClientReceive", "subscribe")
                    ],
                    {"acltype": "unsubscribe", "allow": True},
                ],
            },
            *[{"command": "deleteClient", "username": one} for one in clients if parse_id(one) is not None],
            *[{"command": "deleteRole", "rolename": one} for one in roles if one.startswith((ROLE, STRANGERS))],
            {"command": "createRole", "rolename": STRANGERS, "acls": [rule.command() for rule in _OPEN]},
        )
        for known in (parse_id(one) for one in clients):
            if known is not None:
                await self._line.send(Carried(credentials_topic(known), b""), retain=True)
        groups = (await self._control.do({"command": "listGroups", "count": -1}))[0].get("data", {}).get("groups", [])
        if STRANGERS not in groups:
            await self._control.must({"command": "createGroup", "groupname": STRANGERS})
        await self._control.do(
            {"command": "addGroupRole", "groupname": STRANGERS, "rolename": GATE, "priority": _FIRST}
        )
        await self._control.must(
            {"command": "addGroupRole", "groupname": STRANGERS, "rolename": STRANGERS, "priority": 1},
            {"command": "setAnonymousGroup", "groupname": STRANGERS},
        )

    async def _check_gate(self) -> None:
        """Raise unless the will would be carried out: a harmless command takes its way."""
        try:
            await self._control.do({"command": "getDefaultACLAccess"}, by=GATE_TOPIC)
        except BrokerUnavailable:
            raise UnlockedBroker("the broker does not carry the lock's will to where it takes commands") from None

    # One step --------------------------------------------------------------------------------------------------------

    async def _step(self) -> None:
        now = int(self._setup.clock())
        try:
            facts = await self._setup.facts()
            rules.facts_fresh(facts, now, self._setup.max_staleness, None)
            if facts.height != self._height or self._setup.clock() >= self._look_again:
                await self._follow(now)
                self._height = facts.height
            self._holds_until = min(facts.time + self._setup.max_staleness, self._ends)
        except (BrokerUnavailable, BrokerRefused):
            raise
        except Unavailable as error:
            self._lock.say(f"cannot check: {error.message}")
        await self._set_gate(shut=now >= self._holds_until)

    async def _set_gate(self, *, shut: bool) -> None:
        if shut != self._lock.open.is_set():
            return
        await self._control.must(gate(shut=shut))
        if shut:
            self._lock.open.clear()
            self._lock.say("the gate is shut: nobody may do anything until there are fresh facts")
        else:
            self._lock.open.set()
            self._lock.recovered()

    async def _follow(self, now: int) -> None:
        """Bring the broker's rules in step with what is held now."""
        wanted, until = await self._wanted(now)
        for identity in [one for one in self._stands if not wanted.get(one)]:
            await self._close(identity)
        for identity, found in wanted.items():
            if found and found != self._stands.get(identity):
                await self._admit(identity, found)
        self._ends = until  # past this, what stands is too much: it is brought in step by then, or the gate is shut
        self._look_again = min(until, now + _LOOK_AGAIN)

    async def _wanted(self, now: int) -> tuple[dict[bytes, tuple[Rule, ...]], int]:
        held: dict[bytes, list[tuple[bytes, Held]]] = {}
        until = rules.FOREVER
        for namespace in self._setup.namespaces:
            everybody = await self._setup.standing.held(EVERYBODY, namespace)
            for identity in await self._setup.standing.members(namespace):
                rights = _OWN if identity == namespace else await self._setup.standing.held(identity, namespace)
                live = [(namespace, one) for one in (*rights, *everybody) if now < one.until]
                if identity != EVERYBODY:
                    held.setdefault(identity, []).extend(live)
                until = min([until, *[one.until for _, one in live]])
        if len(held) > LIMITS.mqtt_entities:
            raise TooLarge(f"{len(held)} entities hold rights; a broker is locked for {LIMITS.mqtt_entities} at most")
        wanted: dict[bytes, tuple[Rule, ...]] = {}
        for identity, found in held.items():
            try:
                wanted[identity] = rules_of(identity, found)
            except TooLarge as error:
                self._leave_out(error.message)
        return wanted, until

    async def _admit(self, identity: bytes, found: tuple[Rule, ...]) -> None:
        name, role = id_text(identity), ROLE + id_text(identity)
        acls = [rule.command() for rule in found]
        if self._stands.get(identity):
            await self._control.must({"command": "modifyRole", "rolename": role, "acls": acls})
            self._stands[identity] = found
            return
        try:
            entity = await self._setup.standing.record(identity)
        except NotFound as error:
            self._leave_out(error.message)
            return
        password = base64.urlsafe_b64encode(self._setup.draw(PASSWORD_BYTES)).decode("ascii")
        if identity in self._stands:  # it held rights before
            await self._control.must(
                {"command": "modifyRole", "rolename": role, "acls": acls},
                {"command": "setClientPassword", "username": name, "password": password},
                {"command": "enableClient", "username": name},
            )
        else:
            behind = [{"rolename": GATE, "priority": _FIRST}, {"rolename": role, "priority": 1}]
            await self._control.must(
                {"command": "createRole", "rolename": role, "acls": acls},
                {"command": "createClient", "username": name, "password": password, "roles": behind},
            )
        self._stands[identity] = found
        box = keys.seal(entity.exchange_key, encode(("wave/mqtt/v1", identity, password)))
        await self._line.send(Carried(credentials_topic(identity), box), retain=True)

    async def _close(self, identity: bytes) -> None:
        """Empty an entity's role, end its sessions, and forget its password."""
        if self._stands[identity]:
            await self._control.must(
                {"command": "modifyRole", "rolename": ROLE + id_text(identity), "acls": []},
                {"command": "disableClient", "username": id_text(identity)},
            )
            self._stands[identity] = ()
            await self._line.send(Carried(credentials_topic(identity), b""), retain=True)

    def _leave_out(self, why: str) -> None:
        self._left_out[why] += 1
        if self._left_out[why] == 1 and len(self._left_out) <= LIMITS.mqtt_entities:
            self._setup.tell(f"left out: {why}")


_GATE_EVERY: Final = 10.0  # seconds
_LOOK_AGAIN: Final = 5  # seconds: what is known without a new block, such as grants that are kept and not published
_OWN: Final = tuple(Held(one, Pattern("*"), rules.FOREVER) for one in (PUBLISH, SUBSCRIBE))
_OPEN: Final = (
    Rule("publishClientReceive", f"{ROOT}/{CREDENTIALS}/+"),
    Rule("subscribePattern", f"{ROOT}/{CREDENTIALS}/+"),
)
