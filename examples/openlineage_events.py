"""Lineage of a training run in OpenLineage's form, each event signed by whoever trained; reading it takes a right.

Run it with: python examples/openlineage_events.py     (wants `pip install openlineage-python`)
"""

import hashlib
import json
import os
import shutil
import tempfile
import time
from base64 import b64decode, b64encode
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import dataset_version_dataset
from openlineage.client.serde import Serde
from openlineage.client.transport.file import FileConfig, FileTransport
from openlineage.client.uuid import generate_new_uuid

from wave import Dot, EntitySecret, Facts, Proof, WaveError
from wave.bus.message import Inbox, Message
from wave.codec import id_text
from wave.errors import WrongPurpose
from wave.guard import Guard
from wave.guard.decorator import guarded, sign_call
from wave.namespace.grant import right

NOW = int(time.time())
lab, trainer, auditor = (EntitySecret.create(os.urandom, created=NOW, expires=NOW + 86_400) for _ in range(3))
FACTS = Facts(height=7, block_hash=bytes(32), time=NOW)  # what an agent, or ChainFacts, says of the newest block


def proof_for(who: EntitySecret, permission: str) -> Proof:
    """Return a proof that the lab lets ``who`` do this with the lineage of pong."""
    grants = (right((permission,), "lineage/pong"),)
    dot = Dot.create(lab, receiver=who.id, namespace=lab.id, grants=grants, created=NOW, expires=NOW + 3600)
    return Proof.build([(dot,)], [lab.entity, who.entity])


EVENTS = Path(tempfile.mkdtemp()) / "events.ndjson"
SIGNED = EVENTS.with_suffix(".wave")
TELLS, READS = proof_for(trainer, "publish"), proof_for(auditor, "query")


class SignedFile(FileTransport):
    """OpenLineage's file of events, and beside it the same lines as ``sender`` signed them."""

    def __init__(self, sender: EntitySecret) -> None:
        super().__init__(FileConfig(str(EVENTS), append=True))
        self.sender = sender

    def emit(self, event: Any) -> None:
        super().emit(event)
        words = {"permission": "publish", "namespace": lab.id, "resource": f"lineage/{event.job.name}"}
        times = {"created": NOW, "expires": NOW + 3600, "nonce": os.urandom(16), "persist": True}
        line = Serde.to_json(event).encode()
        message = Message.create(self.sender, **words, **times, payload=line, proof=TELLS.id)
        with SIGNED.open("a") as file:
            file.write(b64encode(message.to_bytes()).decode() + "\n")


def train(client: OpenLineageClient) -> None:
    """Fit a slope to recorded play, and tell of it as it begins and when it is done."""
    rows = [(1.0, 2.1), (2.0, 3.9), (3.0, 6.2)]

    def named(name: str, content: object) -> dict[str, Any]:
        digest = hashlib.sha256(repr(content).encode()).hexdigest()
        facet = dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=digest)
        return {"namespace": "file", "name": name, "facets": {"version": facet}}

    run, job, data = Run(str(generate_new_uuid())), Job("lab", "pong"), InputDataset(**named("play.csv", rows))

    def tell(state: RunState, *made: OutputDataset) -> None:
        told = {"run": run, "job": job, "inputs": [data], "outputs": [*made], "producer": "https://lab.example/train"}
        client.emit(RunEvent(eventType=state, eventTime=datetime.now(UTC).isoformat(), **told))

    tell(RunState.START)
    slope = sum(x * y for x, y in rows) / sum(x * x for x, _ in rows)
    tell(RunState.COMPLETE, OutputDataset(**named("slope.json", slope)))


async def newest() -> Facts:
    """Return the facts that the guard decides by."""
    return FACTS


@guarded(Guard(lab.id, [], facts=newest, authorities=["lab"]), permission="query", resource="lineage/{job}")
def lineage(job: str) -> list[str]:
    """Return what was told of a job by who may tell; of each other line, what is wrong with it."""
    inbox, found = Inbox(), []
    for line, signed in zip(EVENTS.read_text().splitlines(), SIGNED.read_text().splitlines(), strict=True):
        message = Message.from_bytes(b64decode(signed))
        try:
            if message.payload != line.encode() or str(message.resource) != f"lineage/{job}":
                raise WrongPurpose("the line is not the one that was signed")
            inbox.accept(message, TELLS, FACTS, permission="publish", now=NOW, kept=True, history=True)
            event = json.loads(line)
            read_from, made = ([one["name"] for one in event[side]] for side in ("inputs", "outputs"))
            found.append(f"{event['eventType']}: {made} of {read_from}, says {id_text(message.sender)[:8]}")
        except WaveError as error:
            found.append(f"refused [{error.code}] {error.message}")
    return found


def read(who: EntitySecret, proof: Proof) -> None:
    """Ask for the lineage of pong as somebody."""
    try:
        ticket = sign_call(who, proof, lineage, "pong", created=int(time.time()), nonce=os.urandom(16))
        print(*lineage(ticket, "pong"), sep="\n")
    except WaveError as error:
        print(f"not to be read with this proof: [{error.code}] {error.message}")


if __name__ == "__main__":
    train(OpenLineageClient(transport=SignedFile(trainer)))
    train(OpenLineageClient(transport=SignedFile(auditor)))  # who has no right to tell
    read(auditor, READS)
    read(trainer, TELLS)  # who may tell may not read
    EVENTS.write_text(EVENTS.read_text().replace("slope.json", "other.json"))
    read(auditor, READS)
    shutil.rmtree(EVENTS.parent)
