"""The embedded node: what it takes, what it keeps, and whose it is."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import rlp
from eth_hash.auto import keccak
from trie import HexaryTrie

from tests.chain.staging import PAYER, START, Clock, publish_call, revoke_call, signed
from wave.chain import contract, genesis
from wave.chain.node import EmbeddedNode, Rejected
from wave.chain.records import Call
from wave.codec import sha256
from wave.errors import ChainUnavailable, StateLocked, StateUnwritable
from wave.limits import LIMITS

ROOT = Path(__file__).parents[2]


def test_every_embedded_chain_begins_with_the_same_two_blocks(tmp_path: Path) -> None:
    hashes = []
    for name, now in (("a", START), ("b", START + 999)):
        with EmbeddedNode.open(tmp_path / name, clock=Clock(now)) as node:
            hashes.append(node.head(fresh=False).hash)
            assert node.head(fresh=False).block_number == 1
            assert node.account(contract.REGISTRY, node.head(fresh=False)).code == contract.runtime()
    assert hashes[0] == hashes[1]


def test_a_chain_is_found_again_as_it_was_left(tmp_path: Path, clock: Clock) -> None:
    with EmbeddedNode.open(tmp_path, clock=clock) as node:
        node.send([signed(1)])
        head = node.head()
    with EmbeddedNode.open(tmp_path, clock=clock) as node:
        assert node.head() == head
        assert node.next_nonce(PAYER) == 2


def test_a_chain_that_died_before_its_second_block_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(EmbeddedNode, "_deploy", lambda _: None)
        with EmbeddedNode.open(tmp_path) as node:
            assert node.head(fresh=False).block_number == 0
    with EmbeddedNode.open(tmp_path) as node:
        assert node.account(contract.REGISTRY, node.head()).code == contract.runtime()


# Time --------------------------------------------------------------------------------------------------------------


def test_blocks_of_one_second_share_its_time_and_none_is_ahead_of_the_clock(node: EmbeddedNode, clock: Clock) -> None:
    for nonce in range(1, 6):
        node.send([signed(nonce)])
    assert node.head().block_number == 6
    assert node.head().timestamp == clock.now


def test_a_clock_set_back_never_makes_a_block_older_than_its_parent(node: EmbeddedNode, clock: Clock) -> None:
    node.send([signed(1)])
    clock.now -= 500
    node.send([signed(2)])
    assert node.head().timestamp == START


def test_a_head_of_the_allowed_age_is_left_alone(node: EmbeddedNode, clock: Clock) -> None:
    head = node.head()
    clock.now += LIMITS.embedded_block_age
    assert node.head() == head


def test_a_head_one_second_older_than_allowed_gets_an_empty_block_first(node: EmbeddedNode, clock: Clock) -> None:
    head = node.head()
    clock.now += LIMITS.embedded_block_age + 1
    assert node.head().parent_hash == head.hash
    assert node.head().timestamp == clock.now


def test_nobody_asking_makes_no_block(node: EmbeddedNode, clock: Clock) -> None:
    before = node.head().block_number
    clock.now += 10_000
    assert node.head(fresh=False).block_number == before


# Transactions ------------------------------------------------------------------------------------------------------


def test_transactions_that_wait_at_the_same_time_share_blocks(node: EmbeddedNode) -> None:
    with node._lock:
        threads = [threading.Thread(target=node.send, args=([signed(nonce)],)) for nonce in range(1, 9)]
        for thread in threads:
            thread.start()
        while len(node._queue) < len(threads):
            pass
        assert node.next_nonce(PAYER) == 9
    for thread in threads:
        thread.join()
    hashes, _ = node.block(node.head().block_number)
    assert len(hashes) == 8


def test_the_order_in_which_nonces_arrive_does_not_matter_within_a_batch(node: EmbeddedNode) -> None:
    assert all(isinstance(outcome, bytes) for outcome in node.send([signed(3), signed(1), signed(2)]))


def test_a_batch_that_does_not_fit_one_block_fills_several(node: EmbeddedNode) -> None:
    before = node.head().block_number
    outcomes = node.send([signed(nonce, gas=genesis.GAS_LIMIT // 2) for nonce in range(1, 6)])
    assert all(isinstance(outcome, bytes) for outcome in outcomes)
    assert node.head().block_number == before + 1  # what was not used of a limit is free again


def test_one_bad_transaction_does_not_spoil_its_block(node: EmbeddedNode) -> None:
    too_large = signed(2, to=b"", data=bytes(49_153), gas=2_000_000)
    outcomes = node.send([signed(1), signed(7), b"junk", too_large, signed(2)])
    assert [type(outcome) for outcome in outcomes] == [bytes, Rejected, Rejected, Rejected, bytes]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (lambda: signed(0), "nonce too low"),
        (lambda: signed(2), "nonce too high"),
        (lambda: signed(1, chainId=1), "invalid chain id"),
        (lambda: signed(1, value=10**30), "insufficient funds"),
        (lambda: signed(1, gas=21_000), "intrinsic gas too low"),
        (lambda: signed(1, gas=genesis.GAS_LIMIT + 1), "exceeds block gas limit"),
        (lambda: signed(1, maxFeePerGas=0), "less than block base fee"),
        (lambda: b"", "invalid transaction"),
        (lambda: b"\x02\xc0", "invalid transaction"),
        (lambda: b"\xff" * 200, "invalid transaction"),
        (lambda: signed(1)[:-1], "invalid transaction"),
        (lambda: signed(1)[:-1] + b"\0", "insufficient funds|invalid transaction|nonce too high"),
    ],
)
def test_a_transaction_is_refused_in_the_words_of_ethereum(node: EmbeddedNode, raw: object, words: str) -> None:
    assert callable(raw)
    (outcome,) = node.send([raw()])
    with pytest.raises(Rejected, match=words):
        raise outcome if isinstance(outcome, Exception) else AssertionError


def test_the_same_transaction_again_is_known_already(node: EmbeddedNode) -> None:
    node.send([signed(1)])
    (outcome,) = node.send([signed(1)])
    assert str(outcome) == "already known"


def test_an_estimate_is_enough_and_one_less_is_not(node: EmbeddedNode) -> None:
    data = revoke_call([sha256(bytes([n])) for n in range(5)])
    need = node.estimate(Call(contract.REGISTRY, data, PAYER), node.head())
    node.send([signed(1, data, gas=need - 1), signed(2, data, gas=need)])
    hashes, _ = node.block(node.head().block_number)
    receipts = [node.receipt(item) for item in hashes]
    assert [found[0].status for found in receipts if found] == [0, 1]


def test_an_estimate_counts_what_the_floor_price_of_data_asks(node: EmbeddedNode) -> None:
    data = publish_call(b"\xff" * 300)
    need = node.estimate(Call(contract.REGISTRY, data, PAYER), node.head())
    (outcome,) = node.send([signed(1, data, gas=need)])
    assert isinstance(outcome, bytes)
    found = node.receipt(outcome)
    assert found is not None
    assert (found[0].status, found[0].gas_used) == (1, need)


# Proofs ------------------------------------------------------------------------------------------------------------


def _slot_of(commitment: bytes) -> int:
    return int.from_bytes(keccak(contract.REVOKED_SLOT.to_bytes(32, "big") + commitment), "big")


def test_a_proof_shows_what_is_revoked_and_what_is_not_against_the_header(node: EmbeddedNode) -> None:
    preimages = [sha256(bytes([n])) for n in range(20)]
    node.send([signed(1, revoke_call(preimages), gas=2_000_000)])
    node.send([signed(2)])
    present, absent = _slot_of(sha256(preimages[3])), _slot_of(b"never" * 6 + b"!!")
    header = node.head()
    proof = node.proof(contract.REGISTRY, [present, absent], header)

    account = HexaryTrie.get_from_proof(
        header.state_root, keccak(contract.REGISTRY), [rlp.decode(n) for n in proof.nodes]
    )
    _, _, storage_root, code_hash = rlp.decode(account)
    assert code_hash == keccak(contract.runtime())
    values = [
        HexaryTrie.get_from_proof(storage_root, keccak(slot.to_bytes(32, "big")), [rlp.decode(n) for n in nodes])
        for slot, _, nodes in proof.storage
    ]
    assert values == [rlp.encode(2), b""]
    assert [value for _, value, _ in proof.storage] == [2, 0]


def test_a_proof_shows_that_an_account_does_not_exist(node: EmbeddedNode) -> None:
    header = node.head()
    proof = node.proof(b"\x42" * 20, [], header)
    nodes = [rlp.decode(n) for n in proof.nodes]
    assert HexaryTrie.get_from_proof(header.state_root, keccak(b"\x42" * 20), nodes) == b""


# Disk and owners ---------------------------------------------------------------------------------------------------


def test_a_full_disk_refuses_and_leaves_everything_as_it_was(tmp_path: Path, clock: Clock) -> None:
    with EmbeddedNode.open(tmp_path, clock=clock) as node:
        head = node.head()
        database = node._store.database
        (pages,) = database.execute("PRAGMA page_count").fetchone()
        database.execute(f"PRAGMA max_page_count = {pages}")
        (outcome,) = node.send([signed(1, publish_call(b"\xff" * 8_000))])
        assert isinstance(outcome, StateUnwritable)
        assert "full" in outcome.message
        assert node.head() == head
        assert node.next_nonce(PAYER) == 1

        database.execute("PRAGMA max_page_count = 1000000")
        (outcome,) = node.send([signed(1, publish_call(b"\xff" * 8_000))])
        assert isinstance(outcome, bytes)
    with EmbeddedNode.open(tmp_path, clock=clock) as node:
        assert node.receipt(outcome) is not None


def test_a_full_disk_on_the_first_start_leaves_a_chain_that_can_begin_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StateUnwritable("full")

    with monkeypatch.context() as patch:
        patch.setattr("wave.chain.store.NodeStore.commit", full)
        with pytest.raises(StateUnwritable):
            EmbeddedNode.open(tmp_path)
    with EmbeddedNode.open(tmp_path) as node:
        assert node.account(contract.REGISTRY, node.head()).code == contract.runtime()


def test_a_state_that_is_a_file_is_unwritable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateUnwritable):
        EmbeddedNode.open(tmp_path / "file" / "chain")


_OPEN = """
import sys, os
from pathlib import Path
from wave.chain.node import EmbeddedNode
from wave.errors import WaveError
if len(sys.argv) > 2 and os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    EmbeddedNode.open(Path(sys.argv[1]))
except WaveError as error:
    print(error.code, error.message)
else:
    print("opened")
"""


def _open_elsewhere(path: Path, *arguments: str) -> str:
    run = [sys.executable, "-c", _OPEN, str(path), *arguments]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    return subprocess.run(run, capture_output=True, text=True, check=True, timeout=60, env=environment).stdout


def test_a_directory_that_one_may_only_read_is_unwritable(tmp_path: Path) -> None:
    for directory in reversed(tmp_path.parents[:-2]):  # pytest keeps its directories from other users
        if directory.name.startswith("pytest-"):
            directory.chmod(0o755)
    tmp_path.chmod(0o755)
    EmbeddedNode.open(tmp_path / "chain").close()
    for file in (tmp_path / "chain").iterdir():
        file.chmod(0o444)
    (tmp_path / "chain").chmod(0o555)
    assert _open_elsewhere(tmp_path / "chain", "as nobody").startswith("state.unwritable")


def test_a_second_process_is_told_who_owns_the_state(node: EmbeddedNode) -> None:
    answer = _open_elsewhere(node._store.path.parent)
    assert answer.startswith("state.locked")
    assert str(os.getpid()) in answer


def test_a_second_opener_waits_as_long_as_it_is_told(tmp_path: Path) -> None:
    first = EmbeddedNode.open(tmp_path)
    with pytest.raises(StateLocked):
        EmbeddedNode.open(tmp_path, wait=0.05)
    threading.Timer(0.2, first.close).start()
    EmbeddedNode.open(tmp_path, wait=10).close()


def test_a_damaged_file_is_named_and_not_overwritten(tmp_path: Path) -> None:
    EmbeddedNode.open(tmp_path).close()
    (tmp_path / "chain.sqlite").write_bytes(b"not a database" * 1_000)
    with pytest.raises(ChainUnavailable, match="damaged"):
        EmbeddedNode.open(tmp_path)
    assert (tmp_path / "chain.sqlite").read_bytes().startswith(b"not a database")


@pytest.mark.parametrize("known", [0, 1, 7])
def test_what_the_store_remembers_changes_nothing(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, known: int
) -> None:
    def head(path: Path) -> bytes:
        with EmbeddedNode.open(path, clock=clock) as node:
            for nonce in range(1, 6):
                node.send([signed(nonce, revoke_call([sha256(bytes([nonce]))]))])
            assert node.next_nonce(PAYER) == 6
            return bytes(node.head().hash)

    expected = head(tmp_path / "one")
    monkeypatch.setattr("wave.chain.store.KNOWN", known)
    assert head(tmp_path / "two") == expected
