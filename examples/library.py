"""WAVE as a library, without a chain, an agent or a file: a home, a guest, a plumber, and a verdict.

Run it with: python examples/library.py
"""

import os

from wave import Dot, EntitySecret, Facts, Pattern, Proof, Refused, Request, Statement, explain, verify
from wave.namespace.grant import right

NOW = 1_800_000_000
DAY = 86_400


def entity(comment: str) -> EntitySecret:
    """Return a new entity that lives for a year."""
    return EntitySecret.create(os.urandom, created=NOW, expires=NOW + 365 * DAY, comment=comment)


home, guest, plumber = entity("the home"), entity("a guest"), entity("a plumber")

# The home lets its guest use the lights and hand that on once; the guest lets a plumber use one of them until tomorrow.
to_guest = Dot.create(
    home,
    receiver=guest.id,
    namespace=home.id,
    grants=(right(("publish",), "light/*"),),
    indirections=1,
    created=NOW,
    expires=NOW + 30 * DAY,
)
to_plumber = Dot.create(
    guest,
    receiver=plumber.id,
    namespace=home.id,
    grants=(right(("publish",), "light/cellar"),),
    created=NOW,
    expires=NOW + DAY,
)
proof = Proof.build([(to_guest, to_plumber)], [home.entity, guest.entity, plumber.entity])

names = {home.id: "the home", guest.id: "the guest", plumber.id: "the plumber"}
facts = Facts(height=7, block_hash=bytes(32), time=NOW)  # what an agent or a follower says of the newest block


def asked(resource: str) -> Request:
    """Return the plumber's question about a resource."""
    return Request(plumber.id, home.id, (Statement("publish", Pattern(resource)),))


grant = verify(proof.to_bytes(), asked("light/cellar"), facts, now=NOW)
print(f"the cellar: yes, over {len(grant.paths[0])} DoTs, for {grant.until - NOW} s")

for resource, then in (
    ("light/hall", facts),
    ("light/cellar", Facts(8, bytes(32), NOW, revocations={to_guest.commitments[0]: 8})),
):
    try:
        verify(proof, asked(resource), then, now=NOW)
    except Refused as refusal:
        print(f"{resource}: no [{refusal.code}]")
        for line in explain(proof, asked(resource), then, now=NOW).lines(lambda identity: names[identity]):
            print(f"    {line}")
