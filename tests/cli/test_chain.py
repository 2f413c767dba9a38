"""chain use, show, forget, deploy and payer: which chain a home follows, and who pays."""

import json
import re
import stat
from pathlib import Path

import pytest

from tests.cli.conftest import Shell
from tests.cli.test_daemons import running

SECRET_URL = "https://me:hunter2@rpc.example.org/v3/apikey?token=secret"
SECRETS = ("hunter2", "apikey", "secret")


def hides(text: str) -> bool:
    return not any(secret in text for secret in SECRETS)


def test_use_writes_the_file_and_show_tells_it_without_secrets(fresh: Shell) -> None:
    ran = fresh.done(
        "chain", "use", SECRET_URL, "https://other.example.org", "--chain-id", "11155111", "--quorum", "2",
        "--confirmations", "3", "--registry", "0x" + "ab" * 20, "--payer", "development", "--max-fee", "0.5",
        "--source", "batches", "--source", "https://mirror.example.org/key/apikey",
    )  # fmt: skip
    assert hides(ran.out + ran.err)
    file = fresh.home / "chain.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    document = json.loads(file.read_text())
    assert document == {
        "chain": [SECRET_URL, "https://other.example.org"],
        "chain_id": 11155111,
        "registry": "0x" + "ab" * 20,
        "confirmations": 3,
        "quorum": 2,
        "payer": "development",
        "max_fee": 500_000_000,
        "sources": [str(fresh.directory / "batches"), "https://mirror.example.org/key/apikey"],
    }
    shown = fresh.done("chain", "show")
    assert hides(shown.out + shown.err)
    assert "https://rpc.example.org" in shown.out
    assert "2 of 2" in shown.out
    assert "only when asked" in shown.out
    said = fresh.done("chain", "show", "--json").json
    assert hides(json.dumps(said))
    assert (said["chain_id"], said["max_fee_gwei"], said["own"]) == (11155111, "0.5", False)


def test_use_embedded_goes_back(fresh: Shell) -> None:
    fresh.done("chain", "use", "http://127.0.0.1:1")
    assert fresh("status").status == 4
    fresh.done("chain", "use", "embedded")
    assert fresh.done("status", "--json").json["chain"] == "embedded"
    assert fresh.done("chain", "show", "--json").json["chain"] == "embedded"


def test_own_and_others_say_what_grant_does(fresh: Shell) -> None:
    fresh.done("chain", "use", "http://127.0.0.1:1")
    assert fresh.done("chain", "show", "--json").json["own"] is True
    fresh.done("chain", "use", "http://127.0.0.1:1", "--others")
    assert fresh.done("chain", "show", "--json").json["own"] is False
    fresh.done("chain", "use", "https://rpc.example.org", "--own")
    assert fresh.done("chain", "show", "--json").json["own"] is True


def test_urls_from_standard_input_are_seen_by_nobody(fresh: Shell) -> None:
    fresh.done("chain", "use", "-", stdin=f"{SECRET_URL}\nhttps://other.example.org\n")
    assert json.loads((fresh.home / "chain.json").read_text())["chain"] == [SECRET_URL, "https://other.example.org"]
    for nothing in ("", "embedded\n", "\xff"):
        assert fresh("chain", "use", "-", stdin=nothing).status == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ("ftp://me:hunter2@example.org",),
        ("embedded", "http://127.0.0.1:1"),
        ("embedded", "--payer", "development"),
        ("embedded", "--confirmations", "2"),
        ("embedded", "--own"),
        (SECRET_URL, SECRET_URL),
        (SECRET_URL, "--quorum", "2"),
        (SECRET_URL, "--registry", "0x12"),
        (SECRET_URL, "--max-fee", "much"),
        (SECRET_URL, "--max-fee", "-1"),
        (SECRET_URL, "--max-fee", "0.0000000001"),
        (SECRET_URL, "--max-fee", "1e999999999"),
        (SECRET_URL, "--max-fee", "nan"),
        (SECRET_URL, "--passphrase-file", "x"),
        (SECRET_URL, "--source", "ftp://example.org/apikey"),
    ],
)
def test_what_contradicts_itself_is_refused_and_nothing_is_written(fresh: Shell, arguments: tuple[str, ...]) -> None:
    ran = fresh("chain", "use", *arguments)
    assert ran.status == 3, ran.out + ran.err
    assert "hint" in ran.err or "not" in ran.err
    assert hides(ran.out + ran.err)
    assert not (fresh.home / "chain.json").exists()


def test_a_payer_file_that_is_not_there_is_told(fresh: Shell) -> None:
    assert fresh("chain", "use", "https://rpc.example.org", "--payer", "no.json").status == 1


def test_a_damaged_file_is_told_and_can_be_written_anew(fresh: Shell) -> None:
    fresh.done("chain", "use", SECRET_URL)
    (fresh.home / "chain.json").write_text('{"chain": ["https://apikey"], "colour": 1}')
    ran = fresh("chain", "show")
    assert ran.status == 3
    assert "wave chain use" in ran.err
    assert hides(ran.err)
    fresh.done("chain", "use", "embedded")
    fresh.done("chain", "show")


def test_the_environment_goes_before_and_that_is_said(fresh: Shell) -> None:
    ran = fresh.done("chain", "use", "http://127.0.0.1:1", WAVE_CHAIN="embedded")
    assert "WAVE_CHAIN is set" in ran.err
    assert fresh.done("chain", "show", "--json", WAVE_CHAIN="embedded").json["chain"] == "embedded"
    bad = fresh("chain", "show", WAVE_CHAIN="http://a.example.org,hunter2")
    assert bad.status == 3
    assert hides(bad.err)
    assert "URL 2 of WAVE_CHAIN" in bad.err


def test_a_forgotten_wave_chain_follows_no_other_chain_in_silence(fresh: Shell, tmp_path: Path) -> None:
    """The home followed a chain by its URL; without it there is the embedded one, which begins alike."""
    node = Shell(fresh.directory, tmp_path / "node")
    with running(node, "chain", "run", "--port", "0") as url:
        fresh.done("mkentity", "-o", "a.ent", "--no-passphrase", WAVE_CHAIN=url)
        lost = fresh("status")
        assert lost.status == 4
        assert "wave: error:" in lost.err
        assert "WAVE_CHAIN" in lost.err
        assert "wave chain forget" in lost.err
        assert fresh.done("status", "--json", WAVE_CHAIN=url).json["counts"]["entities"] == 1
        assert "chain 1463899717 that begins with" in fresh.done("chain", "show").out
    fresh.done("chain", "forget")
    assert fresh.done("status", "--json").json["counts"]["entities"] == 0
    assert "nothing to forget" in Shell(fresh.directory, tmp_path / "empty").done("chain", "forget").out


def test_an_agent_that_runs_is_said_to_follow_the_old_chain(fresh: Shell) -> None:
    with running(fresh, "agent", "run"):
        assert "until it is started again" in fresh.done("chain", "use", "http://127.0.0.1:1").err
        assert fresh("chain", "forget").status == 4


# Paying ------------------------------------------------------------------------------------------------------------


def test_a_new_payer_has_an_address_and_a_private_file(fresh: Shell) -> None:
    (fresh.directory / "word").write_text("correct horse\n")
    made = fresh.done("chain", "payer", "new", "payer.json", "--passphrase-file", "word")
    assert re.fullmatch("0x[0-9a-f]{40}", made.line)
    assert stat.S_IMODE((fresh.directory / "payer.json").stat().st_mode) == 0o600
    assert fresh.done("chain", "payer", "show", "payer.json").line == made.line
    assert fresh.done("chain", "payer", "show", "payer.json", "--passphrase-file", "word").line == made.line
    assert fresh("chain", "payer", "new", "payer.json", "--passphrase-file", "word").status == 3
    (fresh.directory / "word").write_text("another\n")
    wrong = fresh("chain", "payer", "show", "payer.json", "--passphrase-file", "word")
    assert wrong.status == 3
    assert "another" not in wrong.err
    assert fresh("chain", "payer", "show", "no.json").status == 1


def test_nobody_pays_for_a_deployment_that_no_payer_is_named_for(fresh: Shell) -> None:
    fresh.done("chain", "use", "http://127.0.0.1:1")
    ran = fresh("chain", "deploy")
    assert ran.status == 3
    assert "wave chain payer new" in ran.err
    fresh.done("chain", "use", "embedded")
    assert fresh("chain", "deploy", "--payer", "development").status == 3


def test_a_registry_is_deployed_and_used(fresh: Shell, tmp_path: Path) -> None:
    """On a node of its own, at another address than the development one."""
    node = Shell(fresh.directory, tmp_path / "node")
    with running(node, "chain", "run", "--port", "0") as url:
        fresh.done("chain", "use", url)
        made = fresh.done("chain", "deploy", "--payer", "development", "--json").json
        address = made["registry"]
        assert re.fullmatch("0x[0-9a-f]{40}", address)
        fresh.done("chain", "use", url, "--registry", address, "--from-block", str(made["height"]))
        assert fresh.done("status", "--json").json["registry"].lower() == address
        fresh.done("mkentity", "-o", "a.ent", "--no-passphrase")
        fresh.done("chain", "use", url)
        other = fresh("status")
        assert other.status == 4
        assert "registry" in other.err
