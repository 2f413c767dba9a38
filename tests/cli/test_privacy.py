"""Nothing in the clear by accident: on a chain of others, only what was meant to be public can be found on it."""

import http.client
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.cli.conftest import Shell, identity
from tests.cli.test_daemons import running

LABEL = "zauberlehrling"
CONTACT = "nobody@hidden.example"
COMMENT = "for the surprise party"
RESOURCE = "cellar/treasure-chest"
ABOUT = "keeper of the treasure"
WORDS = (LABEL, CONTACT, COMMENT, RESOURCE, "treasure", ABOUT, "hideout")


def rpc(url: str, method: str, *params: object) -> Any:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    connection.request("POST", "/", body, {"Content-Type": "application/json"})
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer["result"]


def told(url: str) -> bytes:
    """Return all that the node tells of its chain: blocks, inputs, receipts and logs, hexadecimal also as bytes."""
    height = int(rpc(url, "eth_blockNumber"), 16)
    found: list[object] = [rpc(url, "eth_getLogs", {"fromBlock": "0x0", "toBlock": hex(height)})]
    for number in range(height + 1):
        block = rpc(url, "eth_getBlockByNumber", hex(number), True)
        found.append(block)
        for transaction in block["transactions"]:
            found.append(transaction)
            found.append(rpc(url, "eth_getTransactionReceipt", transaction["hash"]))
    return b"\n".join(raw(found))


def raw(value: object) -> list[bytes]:
    """Return every text in a JSON value, and every hexadecimal one as the bytes that it stands for."""
    if isinstance(value, dict):
        return [one for pair in value.items() for part in pair for one in raw(part)]
    if isinstance(value, list):
        return [one for part in value for one in raw(part)]
    text = str(value)
    digits = text.removeprefix("0x")
    whole = text.startswith("0x") and len(digits) % 2 == 0
    return [text.encode(), bytes.fromhex(digits) if whole else b""]


def kept(home: Path) -> bytes:
    """Return all that the node keeps on the disk: blocks, transactions and every node of the state's tries."""
    return b"\n".join(path.read_bytes() for path in sorted((home / "chain").rglob("*")) if path.is_file())


def words_in(data: bytes) -> set[str]:
    return {word for word in WORDS if word.encode() in data or word.encode().hex().encode() in data}


def life(shell: Shell, *publish: str) -> None:
    """Entities with contacts and comments, a grant with a comment, a signed name, and revocations of all three."""
    for name in ("owner", "guest", "spare"):
        about = ("--contact", CONTACT, "--comment", ABOUT)
        shell.done("mkentity", "-o", f"{name}.ent", "--no-passphrase", *about, *publish)
    grant = ("grant", "--from", "owner.ent", "--to", "guest", "--comment", COMMENT, *publish)
    dot = shell.done(*grant, "-o", "guest.dot", f"list@owner/{RESOURCE}").line
    shell.done(*grant, "list@owner/hideout")
    shell.done("name", "--from", "owner.ent", *publish, LABEL, "guest")
    assert identity(shell, f"{LABEL}.owner") == identity(shell, "guest")
    shell.done("prove", "--subject", "guest", f"list@owner/{RESOURCE}")
    shell.done("revoke", "--from", "owner.ent", "--dot", dot)
    shell.done("revoke", "--from", "owner.ent", "--name", LABEL)
    shell.done("revoke", "--from", "spare.ent", "--entity")
    assert shell("prove", "--subject", "guest", f"list@owner/{RESOURCE}").status == 1


@pytest.mark.parametrize("publish", [(), ("--publish",)], ids=["by default", "when asked"])
def test_on_a_chain_of_others_nothing_is_read_that_was_not_meant_to_be(
    fresh: Shell, tmp_path: Path, publish: tuple[str, ...]
) -> None:
    """By default no word of the scenario is anywhere on the chain; published on purpose, each of them is."""
    node = Shell(fresh.directory, tmp_path / "node")
    with running(node, "chain", "run", "--port", "0") as url:
        fresh.done("chain", "use", url, "--others")
        life(fresh, *publish)
        assert fresh.done("status", "--json").json["counts"]["revocations"] == 3
        said = told(url)
    on_disk = kept(node.home)
    assert words_in(said) == (set(WORDS) if publish else set())
    assert words_in(on_disk) == (set(WORDS) if publish else set())


def test_what_is_kept_on_a_chain_of_others_is_said_and_can_be_handed_over(fresh: Shell, tmp_path: Path) -> None:
    """Each verb says that it did not publish and what to do; what is handed over convinces another home."""
    node, other = Shell(fresh.directory, tmp_path / "node"), Shell(fresh.directory, tmp_path / "other")
    with running(node, "chain", "run", "--port", "0") as url:
        for shell in (fresh, other):
            shell.done("chain", "use", url, "--others")
        made = fresh.done("mkentity", "-o", "owner.ent", "--no-passphrase", "--json")
        assert made.json["published"] is False
        assert "--publish-again" in made.err
        fresh.done("mkentity", "-o", "guest.ent", "--no-passphrase")
        granted = fresh.done("grant", "--from", "owner.ent", "--to", "guest", "list@owner/x")
        assert "-o FILE" in granted.err
        assert "--publish" in granted.err
        assert "--publish" in fresh.done("name", "--from", "owner.ent", "pal", "guest").err
        fresh.done("prove", "--subject", "guest", "-o", "x.proof", "list@owner/x")
        assert "only when asked" in fresh.done("status").out
        other.done("verify", "x.proof", "list@owner.ent/x")


def test_a_private_name_means_something_to_its_holder_alone(fresh: Shell, tmp_path: Path) -> None:
    """Two homes on one chain: bob.acme, not published, resolves where it is kept alone; published, in both."""
    node, other = Shell(fresh.directory, tmp_path / "node"), Shell(fresh.directory, tmp_path / "other")
    with running(node, "chain", "run", "--port", "0") as url:
        for shell in (fresh, other):
            shell.environment["WAVE_CHAIN"] = url
        fresh.done("mkentity", "-o", "acme.ent", "--no-passphrase")
        bob = fresh.done("mkentity", "-o", "bob.ent", "--no-passphrase").line
        taken = fresh.done("alias", "acme", "acme.ent", "--json").json
        assert taken["committed"] < taken["height"]
        assert fresh.done("status", "--json").json["counts"]["aliases"] == 1
        fresh.done("name", "--from", "acme.ent", "--no-publish", "bob", "bob.ent")
        assert fresh.done("resolve", "bob.acme").line == bob
        stranger = other("resolve", "bob.acme")
        assert stranger.status == 1
        assert "name.not_found" in other("resolve", "bob.acme", "--json").out
        fresh.done("name", "--from", "acme.ent", "robert", "bob.ent")
        assert other.done("resolve", "robert.acme").line == bob
