"""``anchor``, ``audit`` and ``batch``: what they print, and what they exit with."""

import os
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Shell
from wave.agent.batches import Batches
from wave.agent.registrar import keep_promise
from wave.chain.contract import CHAIN_ID, REGISTRY
from wave.chain.promise import Promise
from wave.codec import parse_id
from wave.entities.entity import EntitySecret
from wave.entities.keyring import read_secret, write_public

UNKNOWN = bytes(31) + b"x"


@pytest.fixture
def town(fresh: Shell) -> Shell:
    """Return a home with an owner whose record is published, and DoTs that are not."""
    fresh.done("mkentity", "-o", "owner.ent", "--no-passphrase")
    for number in range(3):
        where = f"publish@./owner.ent/light/{number}"
        fresh.done("grant", "--from", "owner.ent", "--to", "everybody", "--no-publish", "-o", f"{number}.dot", where)
    return fresh


def owner(shell: Shell) -> EntitySecret:
    return read_secret(shell.directory / "owner.ent", str)


def promise(shell: Shell, about: bytes, *, by: int, signer: EntitySecret | None = None) -> Path:
    """Put a promise of the owner's into the home."""
    made = Promise.create(
        signer or owner(shell), about=about, received=by - 1, by=by, chain_id=CHAIN_ID, registry=REGISTRY
    )
    return keep_promise(shell.home / "promises", made)


def anchored(shell: Shell) -> tuple[str, int]:
    """Anchor the DoTs; return the id of the first one and its height."""
    reply = shell.done("anchor", "0.dot", "1.dot", "2.dot", "--json").json
    return reply["objects"][0]["id"], reply["objects"][0]["height"]


def identity(text: str) -> bytes:
    found = parse_id(text)
    assert found is not None
    return found


def test_anchor_puts_many_objects_under_one_root_and_says_where_they_stand(town: Shell) -> None:
    """And a second time, it costs nothing."""
    reply = town.done("anchor", "0.dot", "1.dot", "2.dot", "--json").json
    assert [one["kind"] for one in reply["objects"]] == ["dot"] * 3
    assert len({one["height"] for one in reply["objects"]}) == 1
    assert len(reply["roots"]) == 1
    assert town.done("anchor", "0.dot", "--json").json["roots"] == []
    assert "block" in town.done("anchor", "1.dot").out
    assert town.done("batch", "list", "--json").json == {"batches": [{"root": reply["roots"][0], "objects": 3}]}


def test_a_file_that_is_no_object_is_refused_and_nothing_is_anchored(town: Shell) -> None:
    (town.directory / "page").write_text("<html>")
    assert town("anchor", "0.dot", "page").status == 3
    assert town.done("batch", "list", "--json").json == {"batches": []}


def test_batch_export_copies_to_a_directory_that_others_can_read(town: Shell) -> None:
    anchored(town)
    assert town.done("batch", "export", "mirror", "--json").json["copied"] == 1
    assert town.done("batch", "export", "mirror", "--json").json["copied"] == 0
    (root,) = Batches(town.directory / "mirror").roots()
    assert root.hex() in town.done("batch", "list").out


def test_audit_without_anything_to_say(town: Shell) -> None:
    ran = town.done("audit")
    assert "no promise" in ran.out
    assert town.done("audit", "--json").json["promises"] == []


def test_a_kept_promise_is_found_to_be_kept(town: Shell) -> None:
    """Status 0, in words and in JSON."""
    name, height = anchored(town)
    path = promise(town, identity(name), by=height)
    ran = town.done("audit", str(path))
    assert ran.out.startswith("kept: ")
    (view,) = town.done("audit", "--json").json["promises"]
    assert (view["verdict"], view["height"], view["object"], view["file"]) == ("kept", height, name, str(path))


def test_a_broken_promise_is_found_to_be_broken(town: Shell) -> None:
    """Status 1: the block has passed, and the object came in no block up to it."""
    name, height = anchored(town)
    late = promise(town, identity(name), by=height - 1)
    never = promise(town, UNKNOWN, by=2)
    for path in (late, never):
        ran = town("audit", str(path))
        assert ran.status == 1
        assert ran.out.startswith("broken: ")
    ran = town("audit", "--json")
    assert ran.status == 1
    assert {one["verdict"] for one in ran.json["promises"]} == {"broken"}


def test_a_promise_that_is_not_due_is_pending(town: Shell) -> None:
    height = town.done("status", "--json").json["height"]
    assert town.done("audit", str(promise(town, UNKNOWN, by=height + 100))).out.startswith("pending: ")


def test_what_is_withheld_leaves_it_open_and_is_named(town: Shell) -> None:
    """Status 4: the object may be in the batch whose bytes are nowhere."""
    name, height = anchored(town)
    path = promise(town, identity(name), by=height)
    lost = Shell(town.directory, town.home.parent / "other", {"WAVE_CHAIN": ""})
    (town.home / "chain").rename(lost.home.with_name("moved"))
    lost.home.mkdir(mode=0o700)
    lost.home.with_name("moved").rename(lost.home / "chain")
    ran = lost("audit", str(path), "--promiser", "owner.ent", "--json")
    assert ran.status == 4, ran.out + ran.err
    (view,) = ran.json["promises"]
    assert view["verdict"] == "unknown"
    ran = lost("audit")
    assert (ran.status, ran.out.split(":")[0]) == (0, "withheld")
    assert view["withheld"][0] in ran.out
    assert lost.done("status", "--json").json["withheld"] == 1


def test_a_promise_by_somebody_unknown_cannot_be_told_until_its_record_is_given(town: Shell) -> None:
    stranger = EntitySecret.create(os.urandom, created=int(time.time()), expires=int(time.time()) + 1000)
    path = promise(town, UNKNOWN, by=2, signer=stranger)
    assert town("audit", str(path)).status == 4
    write_public(town.directory / "stranger.pub", stranger.entity)
    assert town("audit", str(path), "--promiser", "stranger.pub").status == 1


def test_a_forged_promise_is_void(town: Shell) -> None:
    """Status 3: it is bad input, and evidence of nothing."""
    made = Promise.create(owner(town), about=UNKNOWN, received=1, by=2, chain_id=CHAIN_ID, registry=REGISTRY)
    forged = Promise(made.body, bytes(64))
    (town.directory / "forged.promise").write_text(forged.to_object().to_text())
    ran = town("audit", "forged.promise")
    assert (ran.status, ran.out.split(":")[0]) == (3, "void")


def test_a_file_that_holds_no_promise_is_bad_input(town: Shell) -> None:
    for name in ("owner.ent", "0.dot"):
        assert town("audit", name).status == 3
    assert town("audit", "nowhere.promise").status == 1
