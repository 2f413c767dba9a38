"""A visitor: a browser with a key of its own, its possession proved, and what that key may see and do."""

import asyncio
import base64
import binascii
import json
from typing import Any, Final

from devices.page.sharing import SIGNALS, slots
from devices.page.view import Shown, View
from wave.agent import wire
from wave.bus.message import JSON, PUBLISH, SUBSCRIBE, Message, authorized, requests, within_time
from wave.bus.proofs import Proofs
from wave.bus.values import contexts
from wave.codec import id_text, sha256
from wave.dots import rules
from wave.dots.cache import Verifier
from wave.dots.proof import Proof
from wave.entities.entity import Entity
from wave.errors import BadRequest, Refused, Unavailable, WaveError, WrongPurpose, WrongSender
from wave.limits import LIMITS
from wave.namespace.pattern import Pattern, covers, resource

CHALLENGE_BYTES: Final = 32
CHALLENGE_TYPE: Final = "application/wave-page"
_CHALLENGE: Final = b"wave/page/v1\0"


def challenge_payload(page: bytes, challenge: bytes) -> bytes:
    """Return what a visitor signs to show that it has its key: for this page, on this connection, and nothing else."""
    return _CHALLENGE + page + challenge


def from_base64(value: object) -> bytes:
    """Return the bytes in a text; :class:`BadRequest`."""
    try:
        return base64.b64decode(str(value).encode("ascii"), validate=True)
    except (ValueError, binascii.Error):
        raise BadRequest("that is not base64") from None


def base64_text(data: bytes) -> str:
    """Return bytes as text."""
    return base64.b64encode(data).decode("ascii")


class Visitor:
    """One connected key. ``waiting`` holds what is to be sent; a browser that reads too slowly is let go."""

    def __init__(self, view: View, entity: Entity) -> None:
        """Be the visitor ``entity``, whose signature was checked (:func:`greet`)."""
        self.view = view
        self.entity = entity
        self.text = id_text(entity.id)
        self.waiting: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue(maxsize=LIMITS.queue_frames)
        self.seen: dict[str, Proof] = {}
        self.asks = ""
        self.known = False
        self.granted = False
        self._told: dict[str, bytes] = {}
        self._verifier = Verifier()

    # What is sent --------------------------------------------------------------------------------------------------

    def send(self, kind: str, **fields: Any) -> None:
        """Queue something for the browser."""
        try:
            self.waiting.put_nowait({"type": kind, **fields})
        except asyncio.QueueFull:
            self.let_go()

    def send_news(self, kind: str, **fields: Any) -> None:
        """Queue something unless it is what was sent of this kind before."""
        sent = sha256(json.dumps(fields, sort_keys=True).encode("ascii"))
        if self._told.get(kind) != sent:
            self._told[kind] = sent
            self.send(kind, **fields)

    def let_go(self) -> None:
        """End the connection."""
        while not self.waiting.empty():
            self.waiting.get_nowait()
        self.waiting.put_nowait(None)

    # What it may see -----------------------------------------------------------------------------------------------

    async def look(self) -> None:
        """Find out anew what the key may, and send what has changed; for want of knowledge nothing may be seen."""
        view = self.view
        try:
            await self._introduce()
            held = (await view.agent.call(wire.What(subject=self.text))).holdings
        except WaveError:
            held = None
        home = id_text(view.namespace)
        rights = [one for one in held or () if one.namespace == home and one.permission_set is None]
        if held is not None:
            self.granted = bool(rights)
        devices = []
        for path in view.devices:
            pattern = f"{path}/+/signal/+"
            wanted = any(one.permission == SUBSCRIBE and covers(one.pattern, pattern) for one in rights)
            sees = wanted and await self._opens(path)
            if not sees:
                self.seen.pop(path, None)
            may = {slot: _may(rights, f"{path}/{slot}") for slot in slots(path.partition("/")[0])}
            if sees or any(may.values()):
                devices.append({"path": path, "see": sees, "may": may})
        self.send_news("devices", devices=devices, trouble=view.trouble)
        self.send_news("you", id=self.text, name=view.names.get(self.text, ""), rights=_plain(rights))
        for shown in [one for one in view.states.values() if one.path in self.seen]:
            self.send_news(f"state {shown.path} {shown.signal}", **_state(shown))

    async def _introduce(self) -> None:
        """Let the agent know the key's record once somebody has given it something; strangers fill no disk."""
        if not self.known:
            here = {node.id: node.state for node in self.view.graph.nodes}.get(self.text)
            if here == "unknown":
                await self.view.agent.call(wire.Publish(objects=(self.entity.to_bytes(),), keep_only=True))
            self.known = here is not None

    async def _opens(self, path: str) -> bool:
        """Tell whether the key may see a device now, and remember the proof of it."""
        if path in self.seen:
            return await self.may_see(path)
        try:
            self.seen[path] = await self._prove(SUBSCRIBE, Pattern(f"{path}/+/signal/+"), b"", "")
        except WaveError:
            return False
        return await self.may_see(path)

    async def may_see(self, path: str) -> bool:
        """Check the right to see a device against the facts of this moment; a right that is gone is forgotten."""
        proof = self.seen.get(path)
        if proof is None:
            return False
        site = self.view.site
        asked = requests(self.entity.id, SUBSCRIBE, self.view.namespace, Pattern(f"{path}/+/signal/+"), ({},))
        try:
            authorized(self._verifier, asked, proof, await site.facts(), now=int(site.clock()))
        except Refused:
            self.seen.pop(path, None)
            return False
        except Unavailable:
            return False
        return True

    async def show(self, shown: Shown) -> None:
        """Send a report, if the key may see it."""
        if await self.may_see(shown.path):
            self.send_news(f"state {shown.path} {shown.signal}", **_state(shown))

    # What it does --------------------------------------------------------------------------------------------------

    async def _prove(self, permission: str, where: Pattern, payload: bytes, content_type: str) -> Proof:
        values = contexts(content_type, payload)
        asked = requests(self.entity.id, permission, self.view.namespace, where, values)
        return await Proofs(self.entity, self.view.site.proofs).get(asked, int(self.view.site.clock()))

    async def see(self) -> dict[str, Any]:
        """Raise the reason why the key may see nothing here, explained by the agent, if that is so."""
        devices = self.view.devices
        wanted = [] if self.seen else [f"{path}/+/signal/+" for path in devices[:1]] or [SIGNALS]
        for pattern in wanted:
            await self._prove(SUBSCRIBE, Pattern(pattern), b"", "")
        return {}

    async def prove(self, where: str, payload: bytes) -> dict[str, Any]:
        """Return a proof that the key may publish ``payload`` there; raises the refusal, explained by the agent."""
        proof = await self._prove(PUBLISH, resource(where), payload, JSON)
        return {"proof": base64_text(proof.to_bytes()), "id": base64_text(proof.id)}

    def read(self, message: bytes) -> Message:
        """Return a message that the visitor wants carried: its own, and about this home; :class:`InputError`."""
        found = Message.from_bytes(message)
        if found.sender != self.entity.id:
            raise WrongSender("the message is somebody else's")
        if found.permission != PUBLISH or found.namespace != self.view.namespace:
            raise WrongPurpose("the message is no command to this home")
        return found


def greet(view: View, page: bytes, challenge: bytes, asked: dict[str, Any]) -> Visitor:
    """Return the visitor whose record and signed challenge are in ``asked``; :class:`InputError`, :class:`Refused`."""
    entity = Entity.from_bytes(from_base64(asked.get("entity")))
    entity.check()
    message = Message.from_bytes(from_base64(asked.get("message")))
    if (
        message.permission != SUBSCRIBE
        or message.namespace != view.namespace
        or message.payload != challenge_payload(page, challenge)
    ):
        raise WrongPurpose("the key signed something else than this connection's challenge")
    if message.sender != entity.id:
        raise WrongSender("the challenge was signed by another key")
    within_time(message, int(view.site.clock()))
    message.check(entity.verify_key)
    return Visitor(view, entity)


async def check_alive(view: View, entity: Entity) -> None:
    """Raise unless a visitor's key is inside its time and not revoked; :class:`Refused`, :class:`Unavailable`."""
    rules.living(entity.id, {entity.id: entity.fields}, await view.site.facts(), int(view.site.clock()))


def _state(shown: Shown) -> dict[str, Any]:
    return {"path": shown.path, "signal": shown.signal, "value": shown.value, "by": shown.by, "at": shown.at}


def _may(rights: list[wire.HoldingView], where: str) -> dict[str, Any] | None:
    """Return until when, and under which conditions, something may be published there."""
    found = [one for one in rights if one.permission == PUBLISH and covers(one.pattern, where)]
    found.sort(key=lambda one: (len(one.conditions), -one.until))
    return {"until": found[0].until, "conditions": found[0].conditions} if found else None


def _plain(rights: list[wire.HoldingView]) -> Any:
    return [json.loads(wire.encode(one)) for one in rights]
