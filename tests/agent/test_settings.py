"""Settings: the environment, chain.json, what contradicts itself, and the chain that a home remembers."""

import json
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from tests.agent.conftest import Clock, person
from wave.agent import settings as module
from wave.agent import wire
from wave.agent.engine import Engine
from wave.agent.following import EMBEDDED_GENESIS, LazyChain, forget, remembered
from wave.agent.settings import ChainChoice, Settings, chain_urls, read_choice, shown_url, stays_here, write_choice
from wave.chain.keystore import write_keystore
from wave.chain.node import EmbeddedNode
from wave.errors import BadPassphrase, BadSetting, ChainUnavailable, SecretFileMode, StateLocked, WrongChain

URLS = ("https://me:hunter2@rpc.example.org/v3/apikey?token=secret", "wss://other.example.org/apikey")
SECRETS = ("hunter2", "apikey", "secret")
REGISTRY = bytes(range(20))


def choice(**more: Any) -> ChainChoice:
    return ChainChoice(urls=URLS, **more)


def of(home: Path, **environment: str) -> Settings:
    return Settings.from_environment({"WAVE_HOME": str(home), **environment})


# The file ----------------------------------------------------------------------------------------------------------


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    """Every setting; the file is its owner's alone."""
    whole = choice(
        chain_id=5,
        registry=REGISTRY,
        from_block=9,
        confirmations=3,
        quorum=2,
        payer="/keys/payer.json",
        passphrase_file="/keys/pass",
        max_fee=30,
        own=True,
        sources=("/srv/batches", "https://mirror.example.org/"),
    )
    path = tmp_path / "home" / "chain.json"
    write_choice(path, whole)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_choice(path) == whole
    settings = of(tmp_path / "home")
    assert (settings.chain, settings.urls) == (",".join(URLS), URLS)
    assert (settings.chain_id, settings.registry, settings.from_block) == (5, REGISTRY, 9)
    assert (settings.confirmations, settings.quorum) == (3, 2)
    assert (settings.payer, settings.passphrase_file, settings.max_fee) == ("/keys/payer.json", "/keys/pass", 30)
    assert (settings.own, settings.sources) == (True, whole.sources)


def test_what_was_not_said_is_not_in_the_file(tmp_path: Path) -> None:
    """A later release may choose other defaults."""
    assert choice().to_json() == {"chain": list(URLS)}
    assert choice(own=False).to_json() == {"chain": list(URLS), "own": False}


def test_without_a_file_the_chain_is_the_embedded_one(tmp_path: Path) -> None:
    """And it is one's own."""
    settings = of(tmp_path)
    assert (settings.chain, settings.urls, settings.own) == ("embedded", (), True)


def test_the_environment_goes_before_the_file(tmp_path: Path) -> None:
    """Its URLs do; the file's word that the chain is one's own is about the file's endpoints."""
    write_choice(tmp_path / "chain.json", choice(own=True, chain_id=5, quorum=2))
    assert of(tmp_path).own
    elsewhere = of(tmp_path, WAVE_CHAIN="https://third.example.org")
    assert (elsewhere.urls, elsewhere.chain_id) == (("https://third.example.org",), 5)
    assert (elsewhere.own, elsewhere.quorum) == (False, None)
    assert of(tmp_path, WAVE_CHAIN=",".join(reversed(URLS))).own
    embedded = of(tmp_path, WAVE_CHAIN="embedded")
    assert (embedded.chain, embedded.chain_id, embedded.own) == ("embedded", None, True)


def test_a_chain_said_to_be_of_others_stays_one(tmp_path: Path) -> None:
    """Whatever its address looks like."""
    write_choice(tmp_path / "chain.json", ChainChoice(urls=("http://127.0.0.1:8545",), own=False))
    assert not of(tmp_path).own
    assert not of(tmp_path, WAVE_CHAIN="http://127.0.0.1:9999").own


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:8545", "ws://localhost:1", "http://[::1]:8545", "unix:/run/chain.sock", "http://127.3.2.1:1"],
)
def test_a_chain_on_this_machine_is_ones_own(url: str) -> None:
    assert stays_here((url,))
    assert not stays_here((url, "https://rpc.example.org"))


@pytest.mark.parametrize("url", ["https://rpc.example.org", "http://192.168.0.3:8545", "http://127.0.0.1.example.org"])
def test_a_chain_elsewhere_is_of_others(url: str) -> None:
    assert not stays_here((url,))


@pytest.mark.parametrize(
    "text",
    [
        "nothing",
        "ftp://example.org",
        "http://",
        "http://host:port",
        "http://a.example.org,",
        ",",
        "embedded,http://a.example.org",
        "http://a.example.org,http://a.example.org",
        "unix:",
        "https://me:hunter2@example.org:secret/",
    ],
)
def test_urls_that_are_none_are_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    """They may hold a key."""
    with pytest.raises(BadSetting) as caught:
        of(tmp_path, WAVE_CHAIN=text)
    assert "hunter2" not in caught.value.message + caught.value.hint
    assert caught.value.hint


def test_endpoints_are_bounded() -> None:
    """At the bound, and one past it."""
    urls = [f"http://node{number}.example.org" for number in range(module.MOST_ENDPOINTS + 1)]
    assert len(chain_urls(",".join(urls[:-1]), "it")) == module.MOST_ENDPOINTS
    with pytest.raises(BadSetting):
        chain_urls(",".join(urls), "it")


@pytest.mark.parametrize(
    "good",
    [
        {"quorum": 1},
        {"quorum": 2},
        {"confirmations": 0},
        {"confirmations": module.MOST_CONFIRMATIONS},
        {"from_block": module.HIGHEST_BLOCK},
        {"chain_id": module.HIGHEST_ID},
        {"sources": ("x",) * module.MOST_SOURCES},
        {"payer": "development"},
    ],
)
def test_settings_at_their_bounds_are_taken(good: dict[str, Any]) -> None:
    assert choice(**good).check() == choice(**good)


@pytest.mark.parametrize(
    "bad",
    [
        {"quorum": 0},
        {"quorum": 3},
        {"confirmations": -1},
        {"from_block": -1},
        {"from_block": module.HIGHEST_BLOCK + 1},
        {"confirmations": module.MOST_CONFIRMATIONS + 1},
        {"chain_id": 0},
        {"chain_id": module.HIGHEST_ID + 1},
        {"registry": b"short"},
        {"max_fee": 0},
        {"passphrase_file": "/p"},
        {"passphrase_file": "/p", "payer": "development"},
        {"sources": ("ftp://example.org",)},
        {"sources": ("",)},
        {"sources": ("x",) * (module.MOST_SOURCES + 1)},
    ],
)
def test_settings_past_their_bounds_or_against_one_another_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(BadSetting):
        choice(**bad).check()


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"chain": []},
        {"chain": "http://example.org"},
        {"chain": [5]},
        {"chain": list(URLS), "colour": "red"},
        {"chain": list(URLS), "quorum": "2"},
        {"chain": list(URLS), "quorum": True},
        {"chain": list(URLS), "own": 1},
        {"chain": list(URLS), "registry": "0x12"},
        {"chain": list(URLS), "registry": "0x" + "zz" * 20},
        {"chain": list(URLS), "sources": [1]},
        {"chain": [URLS[0], "secret nonsense"]},
    ],
)
def test_a_file_that_says_something_else_is_refused_without_its_secrets(tmp_path: Path, document: object) -> None:
    path = tmp_path / "chain.json"
    path.write_text(json.dumps(document))
    path.chmod(0o600)
    with pytest.raises(BadSetting) as caught:
        read_choice(path)
    assert not any(secret in caught.value.message + caught.value.hint for secret in SECRETS)
    assert "wave chain use" in caught.value.hint or "such as" in caught.value.hint or caught.value.hint


@pytest.mark.parametrize("text", ["", "{", "\xff", "[" * 100_000])
def test_a_damaged_file_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "chain.json"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(BadSetting, match=r"chain\.json"):
        of(tmp_path)


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """Somebody else may know the keys in it already."""
    write_choice(tmp_path / "chain.json", choice())
    (tmp_path / "chain.json").chmod(0o644)
    with pytest.raises(SecretFileMode):
        of(tmp_path)


def test_of_a_url_only_scheme_host_and_port_are_shown() -> None:
    assert [shown_url(url) for url in URLS] == ["https://rpc.example.org", "wss://other.example.org"]
    assert shown_url("unix:/run/chain.sock") == "unix:/run/chain.sock"


# The chain remembered ----------------------------------------------------------------------------------------------


def opened(home: Path) -> Engine:
    return Engine.open(Settings(home), clock=Clock(time.time()), wait=0.0)


def test_a_home_remembers_the_chain_it_followed(tmp_path: Path) -> None:
    """And goes on with it."""
    assert remembered(tmp_path) is None
    for _ in range(2):
        with opened(tmp_path) as engine:
            engine.call(wire.Status())
    known = remembered(tmp_path)
    assert known is not None
    assert (known.chain_id, known.first is not None) == (0x57415645, True)
    assert stat.S_IMODE((tmp_path / "followed.json").stat().st_mode) == 0o600


def test_a_chain_without_the_newest_block_known_is_another(tmp_path: Path) -> None:
    """Two embedded chains that begin in the same second have even their first own block in common."""
    with opened(tmp_path) as engine:
        engine.call(wire.Status())
        chain = LazyChain(Settings(tmp_path / "other", f"unix:{tmp_path}"), 0.0)
        client = engine._chain.client
        for newest in ((2, bytes(32)), (99, bytes(32))):
            chain.newest = lambda newest=newest: newest  # type: ignore[misc]
            with pytest.raises(WrongChain):
                chain._check_newest(client)
        chain.newest = engine._chain.newest
        chain._check_newest(client)


def test_another_embedded_chain_is_refused_though_it_begins_alike(tmp_path: Path) -> None:
    """All of them share genesis and registry; the first block of its own tells each from the others."""
    home, other = tmp_path / "home", tmp_path / "other"
    now = int(time.time())
    with opened(home) as engine:
        engine.call(wire.Publish(objects=(person(now).entity.to_bytes(),)))
    with opened(other) as engine:
        engine.call(wire.Publish(objects=(person(now).entity.to_bytes(),)))
    (home / "chain").rename(tmp_path / "gone")
    (other / "chain").rename(home / "chain")
    with opened(home) as engine:
        with pytest.raises(WrongChain) as caught:
            engine.call(wire.Status())
        assert "wave chain forget" in caught.value.hint
        assert "WAVE_CHAIN" in caught.value.hint
        with pytest.raises(WrongChain):
            engine.call(wire.Publish(objects=(person(now).entity.to_bytes(),)))


def test_a_chain_that_is_forgotten_can_be_another(tmp_path: Path) -> None:
    """What was learned goes; what is only kept here stays."""
    now = int(time.time())
    kept, published = person(now), person(now)
    with opened(tmp_path) as engine:
        engine.call(wire.Publish(objects=(published.entity.to_bytes(),)))
        engine.call(wire.Publish(objects=(kept.entity.to_bytes(),), keep_only=True))
        with pytest.raises(StateLocked):
            forget(tmp_path, wait=0.0)
    (tmp_path / "chain").rename(tmp_path / "gone")
    assert forget(tmp_path, wait=0.0)
    assert not forget(tmp_path, wait=0.0)
    with opened(tmp_path) as engine:
        assert engine.call(wire.Status()).counts.entities == 1
    assert not forget(tmp_path / "nowhere", wait=0.0)


def test_what_has_not_arrived_is_not_forgotten_unless_that_is_said(tmp_path: Path) -> None:
    """It was written, and would reach no other chain."""
    with opened(tmp_path) as engine:
        engine.call(wire.Status())
        engine.registrar.outbox.queue([(bytes(32), b"an object")])
    with pytest.raises(BadSetting, match="1 of the things written here"):
        forget(tmp_path, wait=0.0)
    assert remembered(tmp_path) is not None
    assert forget(tmp_path, wait=0.0, pending_too=True)
    with opened(tmp_path) as engine:
        assert engine.call(wire.Status()).pending == 0


def test_the_embedded_chains_beginning_is_the_one_known(tmp_path: Path) -> None:
    """Whatever changes it makes every embedded chain another one."""
    with opened(tmp_path) as engine:
        first = engine._chain.client.block(0)
        assert first is not None
        assert first.hash == EMBEDDED_GENESIS


def test_a_damaged_memory_is_told(tmp_path: Path) -> None:
    """Which chain it was cannot be told any more, so none is followed in silence."""
    with opened(tmp_path) as engine:
        engine.call(wire.Status())
    (tmp_path / "followed.json").write_text("{}")
    with opened(tmp_path) as engine, pytest.raises(BadSetting, match="damaged"):
        engine.call(wire.Status())


def test_an_embedded_chain_younger_than_the_one_remembered_is_another(tmp_path: Path) -> None:
    """One that was deleted and begins anew is not the one from before."""
    with opened(tmp_path) as engine:
        engine.call(wire.Status())
    known = remembered(tmp_path)
    assert known is not None
    with pytest.raises(WrongChain):
        known.check(type(known)(known.chain_id, known.genesis, known.registry, None), "a chain")
    for other in (
        type(known)(1, known.genesis, known.registry, known.first),
        type(known)(known.chain_id, bytes(32), known.registry, known.first),
        type(known)(known.chain_id, known.genesis, bytes(20), known.first),
        type(known)(known.chain_id, known.genesis, known.registry, bytes(32)),
    ):
        with pytest.raises(WrongChain):
            known.check(other, "a chain")
    known.check(known, "a chain")


def test_a_chain_that_does_not_answer_is_told_with_what_to_do(tmp_path: Path) -> None:
    """The hint names how to run one and how to name one."""
    engine = Engine.open(Settings(tmp_path, "http://127.0.0.1:1"), wait=0.0)
    with engine, pytest.raises(ChainUnavailable) as caught:
        engine.call(wire.Status())
    assert "wave chain run" in caught.value.hint
    assert "WAVE_CHAIN" in caught.value.hint


# Who pays ----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def chain_url(tmp_path: Path) -> Any:
    from wave.chain import serve

    with EmbeddedNode.open(tmp_path / "served") as node:
        async with serve.serving(node, port=0) as url:
            yield url


async def test_the_payers_passphrase_is_asked_for_only_to_write(tmp_path: Path, chain_url: str) -> None:
    """Reading asks nobody; the wrong passphrase is told; without anybody to ask, the hint says what to do."""
    import asyncio

    from wave.chain.genesis import DEVELOPMENT_PAYER

    file = tmp_path / "payer.json"
    write_keystore(file, DEVELOPMENT_PAYER, "right", rounds=2)
    settings = Settings(tmp_path / "home", chain_url, payer=str(file))
    asked: list[str] = []

    def answer(word: str) -> Any:
        def ask(what: str) -> str:
            asked.append(what)
            return word

        return ask

    def scenario() -> None:
        now = int(time.time())
        for word, error in (("wrong", BadPassphrase), (None, BadSetting), ("right", None)):
            with Engine.open(settings, wait=0.0, passphrase=None if word is None else answer(word)) as engine:
                asked.clear()
                engine.call(wire.Status())
                assert asked == []
                publish = wire.Publish(objects=(person(now).entity.to_bytes(),))
                if error is None:
                    assert engine.call(publish).objects[0].height is not None
                    engine.call(wire.Publish(objects=(person(now).entity.to_bytes(),)))
                else:
                    with pytest.raises(error):
                        engine.call(publish)
                assert asked == ([] if word is None else [str(file)])

    await asyncio.to_thread(scenario)


async def test_the_passphrase_may_stand_in_a_file(tmp_path: Path, chain_url: str) -> None:
    """One that its owner alone can read."""
    import asyncio

    from wave.chain.genesis import DEVELOPMENT_PAYER

    file, word = tmp_path / "payer.json", tmp_path / "word"
    write_keystore(file, DEVELOPMENT_PAYER, "right", rounds=2)
    word.write_text("right\n")
    settings = Settings(tmp_path / "home", chain_url, payer=str(file), passphrase_file=str(word))

    def scenario() -> None:
        chain = LazyChain(settings, 0.0)
        settings.home.mkdir()
        try:
            word.chmod(0o644)
            with pytest.raises(SecretFileMode):
                _ = chain.writer
            word.chmod(0o600)
            assert chain.writer.publish(person(int(time.time())).entity.to_bytes()).height > 0
        finally:
            chain.close()

    await asyncio.to_thread(scenario)
