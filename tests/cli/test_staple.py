"""prove --staple and verify --trust-block: a proof that is checked without agent and network."""

import json
from pathlib import Path

import pytest

from tests.chain.liar import Fault, liars
from tests.chain.staging import served
from tests.cli.conftest import Shell, make_shell
from wave.chain.node import EmbeddedNode

LIGHT = "publish@home/light/light0"


@pytest.fixture
def block(wave: Shell) -> str:
    """The hash of the block to which ``stapled.proof`` is stapled."""
    ran = wave.done("prove", "--staple", "--subject", "bob", "-o", "stapled.proof", "--json", LIGHT)
    found: str = ran.json["staple"]["block_hash"]
    return found


def without_agent(wave: Shell) -> dict[str, str]:
    """An environment in which neither agent nor chain can be asked, and the keyring is here."""
    return {"WAVE_AGENT": str(wave.directory / "nobody.sock"), "WAVE_CHAIN": "http://127.0.0.1:1"}


def verify(wave: Shell, *arguments: str, file: str = "stapled.proof", grant: str = LIGHT) -> int:
    return wave("verify", file, *arguments, grant, **without_agent(wave)).status


def test_a_stapled_proof_is_checked_without_agent_or_network(wave: Shell, block: str) -> None:
    ran = wave.done("verify", "stapled.proof", "--trust-block", block, LIGHT, **without_agent(wave))
    assert ran.out.startswith("yes: bob may publish@home/light/light0\n")
    found = wave.done("verify", "stapled.proof", "--trust-block", block, "--json", LIGHT, **without_agent(wave)).json
    assert found["block_hash"] == block
    assert len(found["paths"][0]) == 2
    assert wave("verify", "stapled.proof", LIGHT, **without_agent(wave)).status == 4


def test_what_the_proof_does_not_give_is_refused_offline_too(wave: Shell, block: str) -> None:
    assert verify(wave, "--trust-block", block, grant="publish@home/door") == 1


def test_the_hash_is_said_to_people(wave: Shell) -> None:
    ran = wave.done("prove", "--staple", "--subject", "bob", "-o", "new.proof", LIGHT)
    (line,) = [line for line in ran.out.splitlines() if line.startswith("stapled to block")]
    block = line.rpartition(" ")[2]
    assert verify(wave, "--trust-block", block, file="new.proof") == 0
    assert block in wave.done("inspect", "new.proof").out


def test_a_stapled_proof_is_a_proof_to_the_agent(wave: Shell, block: str) -> None:
    assert wave.done("verify", "stapled.proof", LIGHT).out.startswith("yes")
    assert wave.done("inspect", "stapled.proof", "--json").json["staple"]["block_hash"] == block
    wave.done("why", "--proof", "stapled.proof", "--subject", "bob", LIGHT)


def test_to_standard_output_and_from_standard_input(wave: Shell) -> None:
    ran = wave.done("prove", "--staple", "--subject", "bob", LIGHT)
    assert "-----BEGIN WAVE PROOF-----" in ran.out
    assert "-----BEGIN WAVE STAPLE-----" in ran.out
    block = ran.err.partition("hash ")[2].split()[0]
    done = wave("verify", "-", "--trust-block", block, LIGHT, stdin=ran.out, **without_agent(wave))
    assert done.status == 0


@pytest.mark.parametrize("prefix", ["0x", ""])
@pytest.mark.parametrize("form", ["hash", "block", "answer"])
def test_the_trusted_block_may_stand_in_a_file(wave: Shell, block: str, prefix: str, form: str) -> None:
    """As its hash, or as a node of one's own gives its header."""
    if form == "hash":
        text = prefix + block.removeprefix("0x") + "\n"
    else:
        text = json.dumps(_header(wave, block) if form == "block" else {"id": 1, "result": _header(wave, block)})
    (wave.directory / "block").write_text(text)
    assert verify(wave, "--trust-block", "block") == 0


def _header(wave: Shell, block: str) -> object:
    from tests.chain.staging import ask

    with EmbeddedNode.open(wave.home / "chain") as node:
        return ask(node, "eth_getBlockByHash", block, False)


@pytest.mark.parametrize("text", ["", "hello", "{}", "[1]", '{"hash": "0x' + "00" * 32 + '"}', "[" * 10_000])
def test_a_file_that_names_no_block_is_bad_input(wave: Shell, block: str, text: str) -> None:
    (wave.directory / "block").write_text(text)
    assert verify(wave, "--trust-block", "block") == 3


def test_a_header_that_was_changed_is_bad_input(wave: Shell, block: str) -> None:
    form = _header(wave, block)
    assert isinstance(form, dict)
    (wave.directory / "block").write_text(json.dumps({**form, "stateRoot": "0x" + "00" * 32}))
    assert verify(wave, "--trust-block", "block") == 3


def test_another_block_and_another_registry_cannot_be_told(wave: Shell, block: str) -> None:
    assert verify(wave, "--trust-block", "0x" + "ab" * 32) == 4
    assert verify(wave, "--trust-block", block, "--registry", "0x" + "01" * 20) == 4
    assert verify(wave, "--trust-block", block, "--registry", "here") == 3


def test_a_proof_without_a_staple_cannot_be_told(wave: Shell, block: str) -> None:
    assert verify(wave, "--trust-block", block, file="bob.proof") == 4


def test_a_name_that_only_an_agent_knows_is_not_looked_up(wave: Shell, block: str) -> None:
    assert verify(wave, "--trust-block", block, grant="publish@the-house/light/light0") == 4


def test_how_old_the_block_may_be(wave: Shell, block: str) -> None:
    wave.done("verify", "stapled.proof", "--trust-block", block, LIGHT)
    later = "2026-12-01T00:00:00Z" if _time(wave) < 1_796_000_000 else str(_time(wave) + 86_400)
    assert verify(wave, "--trust-block", block, "--at", later) == 4
    assert verify(wave, "--trust-block", block, "--at", later, "--max-age", "20d") == 0


def _time(wave: Shell) -> int:
    found: int = wave.done("status", "--json").json["block_time"]
    return found


def test_its_options_need_a_trusted_block(wave: Shell) -> None:
    assert wave("verify", "bob.proof", "--max-age", "1h", LIGHT).status == 2
    assert wave("verify", "bob.proof", "--registry", "0x" + "01" * 20, LIGHT).status == 2


def test_what_was_revoked_since_is_refused_by_a_later_staple(tmp_path: Path) -> None:
    """The proof of before, stapled again, shows its own revocation."""
    shell = make_shell(tmp_path)
    for name in ("home", "bob"):
        shell.done("mkentity", "-o", f"{name}.ent", "--no-passphrase")
    dot = shell.done("grant", "--from", "home.ent", "--to", "bob", LIGHT).line
    shell.done("prove", "--staple", "--subject", "bob", "-o", "old.proof", LIGHT)
    shell.done("revoke", "--from", "home.ent", "--dot", dot)
    from wave.agent.engine import Engine
    from wave.agent.settings import Settings
    from wave.agent.wire import Staple as Ask
    from wave.chain.staple import Staple, take_apart
    from wave.dots.proof import Proof

    text, old = take_apart((shell.directory / "old.proof").read_text())
    with Engine.open(Settings(shell.home)) as engine:
        reply = engine.call(Ask(proof=Proof.from_text(text).to_bytes()))
    (shell.directory / "new.proof").write_text(text + Staple.from_bytes(reply.staple).to_text())
    assert verify(shell, "--trust-block", reply.block_hash, file="new.proof") == 1
    assert old is not None
    assert verify(shell, "--trust-block", reply.block_hash, file="old.proof") == 4


def test_without_a_quorum_a_command_could_not_check(tmp_path: Path) -> None:
    """Exit status 4; with one faulty endpoint of four it is as if there were none."""
    shell = make_shell(tmp_path)
    with EmbeddedNode.open(tmp_path / "chain") as node, served(node) as url, liars(url, 4) as them:
        chain = {"WAVE_CHAIN": ",".join(liar.url for liar in them)}
        for name in ("home", "bob"):
            shell.done("mkentity", "-o", f"{name}.ent", "--no-passphrase", "--publish", **chain)
        shell.done("grant", "--from", "home.ent", "--to", "bob", "--publish", LIGHT, **chain)
        them[2].fault = Fault.FORGED_HASHES
        shell.done("prove", "--staple", "--subject", "bob", "-o", "bob.proof", LIGHT, **chain)
        assert shell("verify", "bob.proof", LIGHT, **chain).status == 0
        them[1].fault = Fault.DEAD
        for home in (tmp_path / "elsewhere", shell.home):  # one that heard nothing before, and one that did
            ran = shell("verify", "bob.proof", LIGHT.replace("home", "home.ent", 1), **chain, WAVE_HOME=str(home))
            assert (ran.status, ran.out) == (4, "")
            assert "3 of 4 endpoints must" in ran.err
