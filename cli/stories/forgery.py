"""What a thief would send: a message of one's own with somebody else's proof, past every check on the sender's side."""

import asyncio
import os
import time

from cli.running import bus_of
from cli.stage import Person
from wave.agent.client import AgentClient
from wave.bus.message import Message
from wave.codec import parse_id
from wave.dots.proof import Proof
from wave.entities.keyring import read_secret, read_text
from wave.errors import BadPassphrase, WaveError

_LIFETIME = 60  # seconds
_PATIENCE = 5.0


def forge(thief: Person, secret: str, proof: str, *, namespace: str, resource: str, payload: bytes) -> str:
    """Publish with the proof in a file, whosever it is; return the code of the refusal, or ``ok``."""

    async def send() -> None:
        signer = read_secret(thief.directory / secret, _no_passphrase)
        copied = Proof.from_text(read_text(thief.directory / proof))
        place = parse_id(namespace)
        assert place is not None
        now = int(time.time())
        message = Message.create(
            signer,
            permission="publish",
            namespace=place,
            resource=resource,
            payload=payload,
            created=now,
            expires=now + _LIFETIME,
            sequence=0,
            nonce=os.urandom(16),
            proof=copied.id,
        )
        async with (
            AgentClient(str(thief.socket)) as agent,
            bus_of(agent, signer, thief.environment["WAVE_ROUTER"], patience=_PATIENCE) as bus,
        ):
            await bus.forward(message.to_bytes(), copied.to_bytes())

    try:
        asyncio.run(send())
    except WaveError as error:
        return error.code
    return "ok"


def _no_passphrase() -> str:
    raise BadPassphrase("the thief's file has a passphrase")
