"""Headers, RLP and Merkle-Patricia proofs: what a node says is believed for nothing but its hashes."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import rlp as reference
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st
from trie import HexaryTrie

from tests.chain.staging import Clock, ask, publish_call, revoke_call, signed
from wave.chain import contract, rlp
from wave.chain.client import ChainClient, Endpoint
from wave.chain.header import HIGHEST, Header
from wave.chain.node import EmbeddedNode
from wave.chain.stateproof import EMPTY_ROOT, StateProof, _walk, alias_slot, check_answer, check_nodes, revoked_slot
from wave.codec import sha256
from wave.errors import BadHeader, BadStateProof, InputError, Malformed, NotCanonical, TooLarge
from wave.limits import LIMITS

PREIMAGES = [bytes((number,)) * 32 for number in range(20)]
REVOKED = [sha256(preimage) for preimage in PREIMAGES]
FREE = [sha256(bytes((number,))) for number in range(20)]
ITEMS = st.recursive(st.binary(max_size=80), lambda inner: st.lists(inner, max_size=18), max_leaves=40)


# RLP -----------------------------------------------------------------------------------------------------------------


def depth(item: rlp.Item) -> int:
    return 0 if isinstance(item, bytes) else 1 + max(map(depth, item), default=0)


@given(ITEMS)
def test_rlp_is_what_another_implementation_writes(item: rlp.Item) -> None:
    data = rlp.encode(item)
    assert data == reference.encode(item)
    if depth(item) <= rlp.DEPTH:
        assert rlp.decode(data) == item
    else:
        with pytest.raises(TooLarge):
            rlp.decode(data)


@given(st.binary(max_size=80))
def test_bytes_have_one_meaning_or_none(data: bytes) -> None:
    """Whatever is read is written again as it was, and the other implementation reads the same."""
    try:
        item = rlp.decode(data)
    except InputError:
        return
    assert rlp.encode(item) == data
    assert reference.decode(data, strict=True) == item


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", Malformed),
        (b"\x81\x05", NotCanonical),
        (b"\xb8\x05aaaaa", NotCanonical),
        (b"\xb9\x00\x40" + b"a" * 64, NotCanonical),
        (b"\x85aaaa", Malformed),
        (b"\x83aaaa", Malformed),
        (b"\xb8", Malformed),
        (b"\xbf" + b"\xff" * 8, Malformed),
        (b"\xc2\x83aa", Malformed),
        (b"\xc3\x82aaa", Malformed),
        (b"\xf8\x01a", NotCanonical),
        (b"\xc1" * 200, Malformed),
    ],
)
def test_what_the_writer_would_not_write_is_not_read(data: bytes, error: type[InputError]) -> None:
    with pytest.raises(InputError) as caught:
        rlp.decode(data)
    assert isinstance(caught.value, error | TooLarge)


def test_lists_within_lists_are_bounded() -> None:
    def nested(levels: int) -> rlp.Item:
        item: rlp.Item = b""
        for _ in range(levels):
            item = [item]
        return item

    assert rlp.decode(rlp.encode(nested(rlp.DEPTH))) == nested(rlp.DEPTH)
    with pytest.raises(TooLarge):
        rlp.decode(rlp.encode(nested(rlp.DEPTH + 1)))


# Headers -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedNode]:
    """A chain with twenty revocations and an alias."""
    with EmbeddedNode.open(tmp_path_factory.mktemp("town") / "chain", clock=Clock()) as node:
        for nonce, data in enumerate((publish_call(b"first"), revoke_call(PREIMAGES)), 1):
            assert isinstance(node.send([signed(nonce, data, gas=2_000_000)])[0], bytes)
        yield node


def block(node: EmbeddedNode, at: object = "latest") -> dict[str, Any]:
    form: dict[str, Any] = ask(node, "eth_getBlockByNumber", at, False)
    return form


@pytest.mark.parametrize("at", ["0x0", "0x1", "latest"])
def test_a_header_hashes_to_its_block(town: EmbeddedNode, at: str) -> None:
    form = block(town, at)
    header = Header.from_json(form)
    assert "0x" + header.hash.hex() == form["hash"]
    assert "0x" + header.state_root.hex() == form["stateRoot"]
    assert "0x" + header.parent_hash.hex() == form["parentHash"]
    assert [hex(header.number), hex(header.time)] == [form["number"], form["timestamp"]]
    assert Header.from_rlp(header.rlp) == header


@pytest.mark.parametrize(
    "form",
    [
        {"baseFeePerGas": "0x7"},
        {"baseFeePerGas": "0x7", "withdrawalsRoot": "0x" + "ab" * 32},
        {},
        dict.fromkeys(("baseFeePerGas", "withdrawalsRoot", "requestsHash")),
    ],
    ids=["London", "Shanghai", "before", "null"],
)
def test_a_header_of_an_earlier_fork_has_fewer_fields(town: EmbeddedNode, form: dict[str, Any]) -> None:
    later = ("baseFeePerGas", "withdrawalsRoot", "blobGasUsed", "excessBlobGas", "parentBeaconBlockRoot")
    base = {name: value for name, value in block(town).items() if name not in (*later, "requestsHash")}
    fields = rlp.decode(Header.from_json(block(town)).rlp)
    assert not isinstance(fields, bytes)
    extra = [bytes.fromhex(value[2:].zfill(2)) for value in form.values() if value]
    expected = keccak(rlp.encode([*fields[:15], *extra]))
    assert Header.from_json({**base, **form, "hash": "0x" + expected.hex()}).hash == expected


@pytest.mark.parametrize("name", ["stateRoot", "timestamp", "number", "extraData", "logsBloom", "requestsHash", "hash"])
def test_a_header_with_one_field_changed_is_refused(town: EmbeddedNode, name: str) -> None:
    form = block(town)
    text = form[name]
    form[name] = text[:-1] + ("1" if text[-1] != "1" else "2")
    with pytest.raises(BadHeader):
        Header.from_json(form)


@pytest.mark.parametrize("value", [None, 5, "", "0x", "0xzz", "x", "0x0", [], {}, "0x" + "f" * 5000, "0x" + "f" * 64])
@pytest.mark.parametrize("name", ["number", "stateRoot", "hash", "nonce"])
def test_a_field_of_another_form_is_refused(town: EmbeddedNode, name: str, value: object) -> None:
    form = {**block(town), name: value}
    with pytest.raises(BadHeader):
        Header.from_json(form)


@pytest.mark.parametrize("form", [None, 5, "0x", [], {}, {"hash": "0x" + "00" * 32}])
def test_what_is_no_block_is_no_header(form: object) -> None:
    with pytest.raises(BadHeader):
        Header.from_json(form)


def changed(town: EmbeddedNode, **places: bytes) -> bytes:
    fields = rlp.decode(Header.from_json(block(town)).rlp)
    assert not isinstance(fields, bytes)
    found = list(fields)
    for place, value in places.items():
        found[int(place[1:])] = value
    return rlp.encode(found)


def test_header_bytes_are_parsed_strictly(town: EmbeddedNode) -> None:
    fields = rlp.decode(Header.from_json(block(town)).rlp)
    assert isinstance(fields, list)
    for data in (
        b"",
        b"\x80",
        rlp.encode(fields[:14]),
        rlp.encode([*fields, *[b""] * 12]),
        rlp.encode([*fields[:20], [b""]]),
        rlp.encode(fields) + b"\0",
        changed(town, f3=bytes(31)),
        changed(town, f8=b"\0\1"),
        changed(town, f8=rlp.number(HIGHEST + 1)),
        changed(town, f11=rlp.number(LIMITS.latest_time + 1)),
        changed(town, f7=rlp.number(2**256)),
    ):
        with pytest.raises(BadHeader):
            Header.from_rlp(data)
    assert Header.from_rlp(changed(town, f8=rlp.number(HIGHEST), f11=rlp.number(LIMITS.latest_time))).number == HIGHEST
    assert Header.from_rlp(rlp.encode([*fields, b"a fork to come"])).number == Header.from_json(block(town)).number


def test_header_bytes_are_bounded(town: EmbeddedNode) -> None:
    room = LIMITS.header_bytes - len(changed(town, f12=bytes(300))) + 300
    assert Header.from_rlp(changed(town, f12=bytes(room))).rlp
    with pytest.raises(BadHeader):
        Header.from_rlp(changed(town, f12=bytes(room + 1)))


# State -------------------------------------------------------------------------------------------------------------


def asked(node: EmbeddedNode, slots: list[bytes], at: str = "latest", address: bytes = contract.REGISTRY) -> Any:
    return ask(node, "eth_getProof", "0x" + address.hex(), ["0x" + slot.hex() for slot in slots], at)


def state_root(node: EmbeddedNode, at: str = "latest") -> bytes:
    return Header.from_json(block(node, at)).state_root


def checked(node: EmbeddedNode, answer: Any, slots: list[bytes], at: str = "latest") -> StateProof:
    return check_answer(answer, slots, state_root=state_root(node, at), registry=contract.REGISTRY)


SLOTS = [revoked_slot(one) for pair in zip(REVOKED, FREE, strict=True) for one in pair]


def test_presence_and_absence_are_proved(town: EmbeddedNode) -> None:
    found = checked(town, asked(town, SLOTS), SLOTS)
    height = Header.from_json(block(town)).number
    assert [found.values[revoked_slot(one)] for one in REVOKED] == [height] * len(REVOKED)
    assert [found.values[revoked_slot(one)] for one in FREE] == [0] * len(FREE)
    again = check_nodes(found.account, found.storage, SLOTS, state_root=state_root(town), registry=contract.REGISTRY)
    assert again == found


def test_in_an_empty_registry_everything_is_absent(town: EmbeddedNode) -> None:
    """Nothing was revoked before block 3; nodes show an empty trie by its root, or by nothing."""
    answer = asked(town, SLOTS[:2], "0x2")
    for nodes in ([], ["0x80"]):
        for one in answer["storageProof"]:
            one["proof"] = nodes
        found = checked(town, answer, SLOTS[:2], "0x2")
        assert (found.storage, list(found.values.values())) == ((), [0, 0])


def test_an_alias_stands_in_its_slot(tmp_path: Path) -> None:
    with ChainClient.connect("embedded", state=tmp_path) as client:
        client.claim("home", b"h" * 32)
        head = client.head()
        header = Header.from_json(client.header(head.number))
        slots = [alias_slot("home"), alias_slot("else")]
        answer = client.state_proof(slots, head.number)
        found = check_answer(answer, slots, state_root=header.state_root, registry=contract.REGISTRY)
        assert list(found.values.values()) == [int.from_bytes(b"h" * 32, "big"), 0]


def altered(answer: Any, change: Callable[[Any], object]) -> Any:
    copy = json.loads(json.dumps(answer))
    change(copy)
    return copy


def flip(node: str) -> str:
    return node[:-1] + ("0" if node[-1] != "0" else "1")


LIES: dict[str, Callable[[Any], object]] = {
    "no account": lambda a: a["accountProof"].clear(),
    "account cut": lambda a: a["accountProof"].pop(),
    "account without its root": lambda a: a["accountProof"].pop(0),
    "account in reverse": lambda a: a["accountProof"].reverse(),
    "account altered": lambda a: a["accountProof"].__setitem__(-1, flip(a["accountProof"][-1])),
    "account and more": lambda a: a["accountProof"].append(a["accountProof"][-1]),
    "storage cut": lambda a: a["storageProof"][0]["proof"].pop(),
    "storage emptied": lambda a: a["storageProof"][0]["proof"].clear(),
    "storage in reverse": lambda a: a["storageProof"][0]["proof"].reverse(),
    "storage altered": lambda a: a["storageProof"][0]["proof"].__setitem__(0, flip(a["storageProof"][0]["proof"][0])),
    "storage and more": lambda a: a["storageProof"][0]["proof"].append("0x80"),
    "storage of another slot": lambda a: a["storageProof"].reverse(),
    "one slot's twice": lambda a: a["storageProof"].__setitem__(1, a["storageProof"][0]),
    "a slot less": lambda a: a["storageProof"].pop(),
    "a slot more": lambda a: a["storageProof"].append(a["storageProof"][0]),
    "another value": lambda a: a["storageProof"][0].__setitem__("value", "0x0"),
    "a value for nothing": lambda a: a["storageProof"][1].__setitem__("value", "0x1"),
    "no value": lambda a: a["storageProof"][0].pop("value"),
    "a value of another type": lambda a: a["storageProof"][0].__setitem__("value", 3),
    "no storage": lambda a: a.pop("storageProof"),
    "storage of another type": lambda a: a.__setitem__("storageProof", {"0": 5}),
    "nodes of another type": lambda a: a.__setitem__("accountProof", [5, None]),
    "nodes without hexadecimal": lambda a: a.__setitem__("accountProof", ["0xzz"]),
    "endless nodes": lambda a: a.__setitem__("accountProof", ["0x80"] * 100_000),
    "a huge node": lambda a: a["accountProof"].__setitem__(0, "0x" + "00" * (LIMITS.trie_node_bytes + 1)),
    "deep nodes": lambda a: a["accountProof"].__setitem__(0, "0x" + "c1" * LIMITS.trie_node_bytes),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_proof_that_was_tampered_with_is_refused(town: EmbeddedNode, lie: str) -> None:
    slots = SLOTS[:4]
    with pytest.raises(BadStateProof):
        checked(town, altered(asked(town, slots), LIES[lie]), slots)


@pytest.mark.parametrize("answer", [None, 5, "0x", [], {}, {"accountProof": [], "storageProof": []}])
def test_what_is_no_answer_is_no_proof(town: EmbeddedNode, answer: object) -> None:
    with pytest.raises(BadStateProof):
        checked(town, answer, SLOTS[:1])


def test_a_proof_of_another_block_is_refused(town: EmbeddedNode) -> None:
    with pytest.raises(BadStateProof):
        checked(town, asked(town, SLOTS[:2], "0x2"), SLOTS[:2])


def test_another_account_is_no_registry(town: EmbeddedNode) -> None:
    """Neither under the registry's address nor under its own: its code is not the registry's."""
    payer = bytes.fromhex("f39fd6e51aad88f6f4ce6ab8827279cfffb92266")
    answer = asked(town, SLOTS[:1], address=payer)
    for address in (contract.REGISTRY, payer, bytes(20)):
        with pytest.raises(BadStateProof):
            check_answer(answer, SLOTS[:1], state_root=state_root(town), registry=address)


def test_the_account_of_nobody_is_no_registry(town: EmbeddedNode) -> None:
    answer = asked(town, SLOTS[:1], address=b"\x07" * 20)
    with pytest.raises(BadStateProof, match="no contract"):
        check_answer(answer, SLOTS[:1], state_root=state_root(town), registry=b"\x07" * 20)


@given(st.data())
def test_a_walk_finds_what_another_implementation_put_there(data: st.DataObject) -> None:
    """And nothing where nothing was put, for any small trie: short nodes that stand in their parents among them."""
    keys = st.binary(min_size=32, max_size=32) | st.integers(0, 300).map(lambda number: number.to_bytes(32, "big"))
    entries = data.draw(st.dictionaries(keys, st.binary(min_size=1, max_size=40), max_size=12))
    trie = HexaryTrie({})
    for key, value in entries.items():
        trie[key] = value

    def node_of(node: bytes) -> rlp.Item:
        return rlp.decode(trie.db[node])

    assert (trie.root_hash == EMPTY_ROOT) == (not entries)
    for key in [*entries, *data.draw(st.lists(keys, max_size=5))]:
        assert _walk(trie.root_hash, key, node_of) == entries.get(key, b"")


@given(st.binary(min_size=1, max_size=60), ITEMS)
def test_nodes_of_any_shape_are_refused_or_empty(key: bytes, item: rlp.Item) -> None:
    """Whatever stands in a trie under a hash that somebody trusts, a walk ends."""
    with suppress(BadStateProof):
        _walk(bytes(32), sha256(key), lambda _: item)


# Other nodes ---------------------------------------------------------------------------------------------------------


@contextmanager
def endpoint(url: str) -> Iterator[Endpoint]:
    found = Endpoint.open(url, state=Path("/nonexistent"))
    try:
        yield found
    finally:
        found.close()


@pytest.mark.parametrize("name", ["anvil_node", "hardhat_node"])
def test_headers_and_state_of_other_implementations_are_understood(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    node = request.getfixturevalue(name)
    with ChainClient.connect(node.url, state=tmp_path) as client:
        preimage = sha256(name.encode())
        head = client.head()
        header = Header.from_json(client.header(head.number))
        slots = [revoked_slot(sha256(preimage)), revoked_slot(FREE[0])]
        answer = client.state_proof(slots, head.number)
        before = check_answer(answer, slots, state_root=header.state_root, registry=contract.REGISTRY)
        assert list(before.values.values()) == [0, 0]
        height = client.revoke([preimage]).height
        header = Header.from_json(client.header(height))
        answer = client.state_proof(slots, height)
        after = check_answer(answer, slots, state_root=header.state_root, registry=contract.REGISTRY)
        assert list(after.values.values()) == [height, 0]
        with endpoint(node.url) as one:
            assert one.header(height + 1_000_000) is None
