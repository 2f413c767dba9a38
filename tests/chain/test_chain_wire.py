"""JSON-RPC as it is in the wild: what does not answer, answers too late, too much, too little, or something else."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from wave.chain import contract, patience, wire
from wave.chain.contract import Event, Published
from wave.chain.endpoint import Endpoint
from wave.chain.patience import RateLimited, is_limited, retry_after
from wave.chain.wire import Wire
from wave.errors import AnswerTooLarge, BadSetting, ChainUnavailable

QUESTION = b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}'
GOOD = b'{"jsonrpc":"2.0","id":1,"result":"0x1"}'
SECRET = "hunter2"
_CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"


def _http(body: bytes, status: bytes = b"200 OK", *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), b"Connection: close", *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


Talk = Callable[[socket.socket, bytes], None]


@contextmanager
def _listening(talk: Talk) -> Iterator[str]:
    """A server that reads a request and lets ``talk`` answer it, one connection after the other; its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(10)
                    try:
                        talk(connection, _request(connection))
                    except OSError:
                        continue

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def _request(connection: socket.socket) -> bytes:
    request = b""
    while b"\r\n\r\n" not in request:
        request += connection.recv(65_536)
    head, _, body = request.partition(b"\r\n\r\n")
    if b"content-length:" in head.lower():
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        while len(body) < length:
            body += connection.recv(65_536)
    return head + b"\r\n\r\n" + body


def _saying(*answers: bytes) -> Talk:
    """One answer for each connection, the last one again and again."""
    left = list(answers)
    return lambda connection, _: connection.sendall(left.pop(0) if len(left) > 1 else left[0])


@contextmanager
def _wire(url: str, **options: Any) -> Iterator[Wire]:
    made = Wire(url, **options)
    try:
        yield made
    finally:
        made.close()


# HTTP --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "does not answer"),
        (b"nonsense\r\n\r\n", "does not speak HTTP"),
        (_CUT, "cuts its answer short"),
        (_http(b"<html>", b"502 Bad Gateway"), "HTTP status 502"),
        (_http(b"", b"302 Found", b"Location: http://127.0.0.1:1/"), "HTTP status 302"),
        (_http(b"no key", b"401 Unauthorized"), "HTTP status 401"),
    ],
)
def test_what_is_no_answer_over_http_makes_the_chain_unavailable(answer: bytes, words: str) -> None:
    with (
        _listening(_saying(answer)) as place,
        _wire(f"http://{place}/{SECRET}") as asked,
        pytest.raises(ChainUnavailable, match=words) as refusal,
    ):
        asked(QUESTION)
    assert SECRET not in str(refusal.value) + refusal.value.hint


def test_an_answer_at_the_bound_is_read_and_one_byte_more_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "RESPONSE_BYTES", len(GOOD))
    with _listening(_saying(_http(GOOD), _http(GOOD + b" "))) as place, _wire(f"http://{place}") as asked:
        assert asked(QUESTION) == GOOD
        with pytest.raises(AnswerTooLarge):
            asked(QUESTION)


def test_an_answer_without_an_end_is_cut_off_at_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "RESPONSE_BYTES", 100_000)

    def pour(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b" " * 10_000)

    with _listening(pour) as place, _wire(f"http://{place}") as asked, pytest.raises(AnswerTooLarge):
        asked(QUESTION)


@pytest.mark.parametrize("dripping", [b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: "])
def test_an_answer_that_drips_is_not_waited_for(dripping: bytes) -> None:
    def drip(connection: socket.socket, _: bytes) -> None:
        connection.sendall(dripping)
        for _pause in range(200):
            connection.sendall(b" ")
            time.sleep(0.05)

    started = time.monotonic()
    with (
        _listening(drip) as place,
        _wire(f"http://{place}", timeout=0.2) as asked,
        pytest.raises(ChainUnavailable, match="timed out"),
    ):
        asked(QUESTION)
    assert time.monotonic() - started < 5


def test_a_connection_that_was_closed_while_idle_is_made_again() -> None:
    with _listening(_saying(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(GOOD) + GOOD)) as place:  # noqa: SIM117
        with _wire(f"http://{place}") as asked:
            assert [asked(QUESTION) for _ in range(3)] == [GOOD] * 3


# Web sockets -------------------------------------------------------------------------------------------------------


@contextmanager
def _socket_server(handle: Callable[[ServerConnection], None], **options: Any) -> Iterator[str]:
    """A web socket server on which every connection is given to ``handle``; its address."""
    with serve(handle, "127.0.0.1", 0, compression=None, **options) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()
            thread.join(10)


def _echoing(*answers: str | bytes) -> Callable[[ServerConnection], None]:
    """For every request, all ``answers`` as messages of their own."""

    def handle(connection: ServerConnection) -> None:
        for _ in connection:
            for answer in answers:
                connection.send(answer)

    return handle


def test_a_web_socket_is_kept_for_the_next_request() -> None:
    seen: list[int] = []

    def handle(connection: ServerConnection) -> None:
        seen.append(1)
        _echoing(GOOD)(connection)

    with _socket_server(handle) as place, _wire(f"ws://{place}/v3/key") as asked:
        assert [asked(QUESTION) for _ in range(3)] == [GOOD] * 3
    assert len(seen) == 1


def test_what_a_node_says_unasked_is_passed_over() -> None:
    news = '{"jsonrpc":"2.0","method":"eth_subscription","params":{"subscription":"0x1","result":null}}'
    with _socket_server(_echoing(news, news, GOOD)) as place, _wire(f"ws://{place}") as asked:
        assert asked(QUESTION) == GOOD


def test_a_web_socket_that_drops_is_made_again_and_the_request_repeated() -> None:
    """It drops after every answer: each next request finds the connection gone."""

    def once(connection: ServerConnection) -> None:
        connection.recv()
        connection.send(GOOD)

    with _socket_server(once) as place, _wire(f"ws://{place}") as asked:
        assert [asked(QUESTION) for _ in range(4)] == [GOOD] * 4


def test_a_web_socket_that_drops_every_request_is_unavailable() -> None:
    asked_for: list[object] = []

    def never(connection: ServerConnection) -> None:
        asked_for.append(connection.recv())

    with (
        _socket_server(never) as place,
        _wire(f"ws://{place}") as asked,
        pytest.raises(ChainUnavailable, match="does not answer"),
    ):
        asked(QUESTION)
    assert len(asked_for) == 1


def test_a_message_at_the_bound_is_read_and_one_byte_more_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "RESPONSE_BYTES", len(GOOD))
    with _socket_server(_echoing(GOOD)) as place, _wire(f"ws://{place}") as asked:
        assert asked(QUESTION) == GOOD
    with (
        _socket_server(_echoing(GOOD + b" ")) as place,
        _wire(f"ws://{place}") as asked,
        pytest.raises(AnswerTooLarge),
    ):
        asked(QUESTION)


def test_a_web_socket_that_says_nothing_is_not_waited_for() -> None:
    def mute(connection: ServerConnection) -> None:
        for _ in connection:
            pass

    with (
        _socket_server(mute) as place,
        _wire(f"ws://{place}", timeout=0.2) as asked,
        pytest.raises(ChainUnavailable, match="timed out"),
    ):
        asked(QUESTION)


def test_a_text_that_is_no_text_drops_the_connection() -> None:
    def handle(connection: ServerConnection) -> None:
        connection.recv()
        connection.socket.sendall(b"\xff\xff\xff\xff")

    with _socket_server(handle) as place, _wire(f"ws://{place}") as asked, pytest.raises(ChainUnavailable):
        asked(QUESTION)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (_http(b"<html>"), "HTTP status 200"),
        (_http(b"", b"302 Found", b"Location: ws://127.0.0.1:1/"), "HTTP status|does not answer"),
        (_http(b"", b"403 Forbidden"), "HTTP status 403"),
        (b"garbage\r\n\r\n", "does not speak web sockets"),
        (b"", "does not speak web sockets|does not answer"),
    ],
)
def test_what_does_not_open_a_web_socket_makes_the_chain_unavailable(answer: bytes, words: str) -> None:
    with (
        _listening(_saying(answer)) as place,
        _wire(f"ws://{place}/{SECRET}") as asked,
        pytest.raises(ChainUnavailable, match=words) as refusal,
    ):
        asked(QUESTION)
    assert SECRET not in str(refusal.value) + refusal.value.hint


def test_a_password_goes_to_the_node_and_into_no_text() -> None:
    seen: list[str | None] = []

    def look(connection: ServerConnection, request: Request) -> Response | None:
        seen.append(request.headers.get("Authorization"))
        return connection.respond(HTTPStatus.FORBIDDEN, "")

    with (
        _socket_server(_echoing(GOOD), process_request=look) as place,
        _wire(f"ws://user:{SECRET}@{place}/") as asked,
        pytest.raises(ChainUnavailable) as refusal,
    ):
        asked(QUESTION)
    assert seen == ["Basic dXNlcjpodW50ZXIy"]
    assert SECRET not in f"{refusal.value!r} {refusal.value.__context__!r} {asked.name}"


# Addresses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://host",
        "http://",
        "ws://",
        "http://host:port",
        "http://[::1",
        f"http://host/{SECRET} x",
        f"http://host/{SECRET}\n",
        f"http://host/{SECRET}ä",
    ],
)
def test_what_is_no_address_is_a_bad_setting_that_is_not_repeated(url: str) -> None:
    with pytest.raises(BadSetting) as refusal:
        Wire(url)
    assert SECRET not in str(refusal.value) + refusal.value.hint


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "ws://127.0.0.1:1", "unix:/nowhere/chain.sock"])
def test_a_place_where_nobody_listens_does_not_answer(url: str) -> None:
    with _wire(url) as asked, pytest.raises(ChainUnavailable, match="does not answer"):
        asked(QUESTION)


# Limits on how often -----------------------------------------------------------------------------------------------


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses made, which take no time."""
    pauses: list[float] = []
    monkeypatch.setattr(patience, "sleep", pauses.append)
    return pauses


def test_a_node_that_is_asked_too_often_is_asked_again_when_it_says(slept: list[float]) -> None:
    limited = _http(b"slow down", b"429 Too Many Requests", b"Retry-After: 3")
    with _listening(_saying(limited, _http(GOOD))) as place, _wire(f"http://{place}") as asked:
        assert asked(QUESTION) == GOOD
    assert len(slept) == 1
    assert 3 <= slept[0] < 4


def test_pauses_grow_up_to_the_bound_and_then_the_chain_is_unavailable(slept: list[float]) -> None:
    limited = _http(b"", b"429 Too Many Requests")
    with (
        _listening(_saying(limited)) as place,
        _wire(f"http://{place}") as asked,
        pytest.raises(ChainUnavailable, match="how often"),
    ):
        asked(QUESTION)
    assert patience.RATE_WAIT / 4 < sum(slept) <= patience.RATE_WAIT
    assert all(patience.FIRST_PAUSE * 2**n / 2 <= pause <= patience.FIRST_PAUSE * 2**n for n, pause in enumerate(slept))


def test_a_pause_past_the_bound_is_not_made(slept: list[float]) -> None:
    limited = _http(b"", b"503 Service Unavailable", b"Retry-After: 3600")
    with (
        _listening(_saying(limited)) as place,
        _wire(f"http://{place}") as asked,
        pytest.raises(ChainUnavailable, match="how often"),
    ):
        asked(QUESTION)
    assert slept == []


def test_a_web_socket_that_is_opened_too_often_is_opened_later(slept: list[float]) -> None:
    tried: list[int] = []

    def limit(_: ServerConnection, __: Request) -> Response | None:
        tried.append(1)
        return Response(429, "Too Many Requests", Headers({"Retry-After": "1"})) if len(tried) < 3 else None

    with _socket_server(_echoing(GOOD), process_request=limit) as place, _wire(f"ws://{place}") as asked:
        assert asked(QUESTION) == GOOD
    assert len(slept) == 2


@pytest.mark.parametrize(
    ("status", "header", "after"),
    [
        (429, "5", 5.0),
        (429, "Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        (429, "soon", None),
        (429, "9" * 500, None),
        (503, "-1", 0.0),
    ],
)
def test_a_retry_after_is_seconds_a_date_or_nothing(status: int, header: str, after: float | None) -> None:
    limited = retry_after(status, {"Retry-After": header})
    assert isinstance(limited, RateLimited)
    assert limited.after == after


def test_other_answers_ask_for_no_pause() -> None:
    assert retry_after(200, {"Retry-After": "5"}) is None
    assert retry_after(503, {}) is None


@pytest.mark.parametrize(
    ("error", "limited"),
    [
        ({"code": 429, "message": "compute units"}, True),
        ({"code": -32005, "message": "daily request count exceeded, request rate limited"}, True),
        ({"code": -32005, "message": "Too Many Requests"}, True),
        ({"code": -32005, "message": "query returned more than 10000 results"}, False),
        ({"code": -32005, "message": "project ID request rate exceeded"}, True),
        ({"code": -32016, "message": "over rate limit"}, True),
        ({"code": -32000, "message": "execution reverted"}, False),
        ("too many requests", False),
        ({"code": -32005, "message": None}, False),
    ],
)
def test_an_error_that_asks_for_fewer_requests_is_told_from_others(error: object, limited: bool) -> None:  # noqa: FBT001
    assert is_limited({"jsonrpc": "2.0", "id": 1, "error": error}) is limited


# What answers say --------------------------------------------------------------------------------------------------

Answer = Callable[[dict[str, Any]], dict[str, Any]]
LIMITED = {"error": {"code": -32005, "message": "rate limit"}}


def _endpoint(answer: Callable[[Any], Any], registry: bytes = contract.REGISTRY) -> Endpoint:
    """An endpoint whose node answers the parsed request with ``answer``: an object, or bytes as they are."""

    def transport(body: bytes) -> bytes:
        said = answer(json.loads(body))
        return said if isinstance(said, bytes) else json.dumps(said).encode()

    return Endpoint(transport, lambda: None, "the node", registry)


def _each(answer: Answer) -> Callable[[Any], Any]:
    def both(request: Any) -> Any:
        if isinstance(request, list):
            return [{"jsonrpc": "2.0", "id": form["id"], **answer(form)} for form in request]
        return {"jsonrpc": "2.0", "id": request["id"], **answer(request)}

    return both


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b"\xff\xfe",
        b"null",
        b"true",
        b"7",
        b'"0x1"',
        b"[]",
        b"{}",
        b"[" * 200_000,
        b"9" * 10_000,
        b'{"jsonrpc":"2.0","id":1}',
        b'{"jsonrpc":"2.0","id":2,"result":"0x1"}',
        b'{"jsonrpc":"2.0","id":1,"result":null}',
        b'{"jsonrpc":"2.0","id":1,"result":1}',
        b'{"jsonrpc":"2.0","id":1,"result":"0x-1"}',
        b'{"jsonrpc":"2.0","id":1,"result":"0x' + b"f" * 70 + b'"}',
        b'{"jsonrpc":"2.0","id":1,"result":["0x1"]}',
        b'{"jsonrpc":"2.0","id":1,"error":7}',
        b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"parse error"}}',
    ],
)
def test_what_is_no_answer_makes_the_chain_unavailable(body: bytes) -> None:
    with pytest.raises(ChainUnavailable):
        _ = _endpoint(lambda _: body).chain_id


def test_a_web_page_is_called_one() -> None:
    with pytest.raises(ChainUnavailable, match="a web page"):
        _endpoint(lambda _: b"\n <!DOCTYPE html><html>").head()


BLOCK = {"number": "0x5", "hash": "0x" + "11" * 32, "parentHash": "0x" + "22" * 32, "timestamp": "0x64"}


@pytest.mark.parametrize(
    "change",
    [
        {"number": None},
        {"number": 5},
        {"number": "5"},
        {"number": "0x6"},
        {"number": hex(2**64)},
        {"hash": None},
        {"hash": "0x11"},
        {"hash": "0x" + "11" * 33},
        {"parentHash": []},
        {"timestamp": "0x" + "f" * 30},
        {"timestamp": "-0x1"},
    ],
)
def test_a_block_that_cannot_be_is_refused(change: dict[str, Any]) -> None:
    assert _endpoint(_each(lambda _: {"result": BLOCK})).block(5) is not None
    with pytest.raises(ChainUnavailable):
        _endpoint(_each(lambda _: {"result": {**BLOCK, **change}})).block(5)


@pytest.mark.parametrize("result", [None, [], "0x", 7])
def test_a_state_proof_that_is_none_is_refused(result: object) -> None:
    with pytest.raises(ChainUnavailable):
        _endpoint(_each(lambda _: {"result": result})).state_proof([bytes(32)], 5)


def test_only_those_of_a_batch_that_were_limited_are_asked_again(slept: list[float]) -> None:
    requests: list[list[int]] = []

    def answer(form: dict[str, Any]) -> dict[str, Any]:
        limited = len(requests) == 1 and form["params"][0] % 2
        return LIMITED if limited else {"result": form["params"][0]}

    def batch(request: Any) -> Any:
        requests.append([form["params"][0] for form in request])
        return _each(answer)(request)

    answers = _endpoint(batch).ask([("echo", [number]) for number in range(6)])
    assert [said["result"] for said in answers] == list(range(6))
    assert requests == [[0, 1, 2, 3, 4, 5], [1, 3, 5]]
    assert len(slept) == 1


def test_a_batch_that_is_too_long_goes_in_parts_that_are_remembered() -> None:
    sizes: list[int] = []

    def batch(request: Any) -> Any:
        sizes.append(len(request) if isinstance(request, list) else 1)
        if sizes[-1] > 3:
            return {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "batch too large"}}
        return _each(lambda form: {"result": form["params"][0]})(request)

    endpoint = _endpoint(batch)
    for _ in range(2):
        assert [said["result"] for said in endpoint.ask([("echo", [number]) for number in range(10)])] == [*range(10)]
    assert sizes == [10, 5, 2, 2, 2, 2, 2] + [2] * 5


@pytest.mark.parametrize("change", ["order", "missing", "twice", "foreign"])
def test_the_answers_of_a_batch_are_matched_to_their_questions(change: str) -> None:
    def batch(request: Any) -> Any:
        said = _each(lambda form: {"result": form["params"][0]})(request)
        changes: dict[str, Callable[[], Any]] = {
            "order": lambda: said[::-1],
            "missing": lambda: said[:-1],
            "twice": lambda: [*said[:-1], said[0]],
            "foreign": lambda: [*said[:-1], {**said[-1], "id": 999}],
        }
        return changes[change]()

    def ask() -> list[Any]:
        return [said["result"] for said in _endpoint(batch).ask([("echo", [number]) for number in range(4)])]

    if change == "order":
        assert ask() == [0, 1, 2, 3]
    else:
        with pytest.raises(ChainUnavailable):
            ask()


# Events ------------------------------------------------------------------------------------------------------------


def _log(height: int, index: int = 0, **changes: object) -> dict[str, Any]:
    data = (32).to_bytes(32, "big") + (4).to_bytes(32, "big") + height.to_bytes(4, "big").ljust(32, b"\0")
    return {
        "address": "0x" + contract.REGISTRY.hex(),
        "topics": ["0x" + contract.PUBLISHED],
        "data": "0x" + data.hex(),
        "blockNumber": hex(height),
        "blockHash": "0x" + height.to_bytes(32, "big").hex(),
        "transactionHash": "0x" + "33" * 32,
        "transactionIndex": hex(index),
        "logIndex": hex(index),
        "removed": False,
        **changes,
    }


def test_logs_become_events_with_the_hash_of_their_block() -> None:
    said = _endpoint(_each(lambda _: {"result": [_log(3), _log(3, 7), _log(4)]})).events(3, 4)
    assert said == [
        Published(3, 0, (3).to_bytes(4, "big")),
        Published(3, 7, (3).to_bytes(4, "big")),
        Published(4, 0, (4).to_bytes(4, "big")),
    ]
    assert [event.block_hash for event in said] == [n.to_bytes(32, "big") for n in (3, 3, 4)]


@pytest.mark.parametrize(
    ("logs", "words"),
    [
        ([_log(3, removed=True)], "removed"),
        ([_log(3, address="0x" + "42" * 20)], "another contract"),
        ([_log(2)], "not asked for"),
        ([_log(5)], "not asked for"),
        ([_log(4), _log(3)], "out of order"),
        ([_log(3, 1), _log(3, 0)], "out of order"),
        ([_log(3), _log(3)], "out of order"),
        ([_log(3), _log(3, 1, blockHash="0x" + "44" * 32)], "two blocks"),
        (None, "unreadable"),
        ({}, "unreadable"),
        ("logs", "unreadable"),
        ([None], "unreadable"),
        ([[]], "unreadable"),
        ([_log(3, topics=[])], "unreadable"),
        ([_log(3, topics=["0x" + "42" * 32])], "unreadable"),
        ([_log(3, topics=["0x" + contract.REVOKED, "0x42"], data="0x")], "unreadable"),
        ([_log(3, topics="0x" + contract.PUBLISHED)], "unreadable"),
        ([_log(3, data="0x")], "unreadable"),
        ([_log(3, data=None)], "unreadable"),
        ([_log(3, data="0x" + "ff" * 96)], "unreadable"),
        ([_log(3, data="0xzz")], "unreadable"),
        ([_log(3, blockNumber=3)], "unreadable"),
        ([_log(3, blockNumber=None)], "unreadable"),
        ([_log(3, blockHash=None)], "unreadable"),
        ([_log(3, blockHash="0x33")], "unreadable"),
        ([_log(3, logIndex=None)], "unreadable"),
        ([_log(3, logIndex="-0x1")], "unreadable"),
        ([_log(3, logIndex=hex(2**64))], "unreadable"),
    ],
)
def test_logs_that_cannot_be_are_refused(logs: object, words: str) -> None:
    with pytest.raises(ChainUnavailable, match=words):
        _endpoint(_each(lambda _: {"result": logs})).events(3, 4)


class Ranged:
    """A node with one event in each block that refuses ranges of more than ``most`` blocks."""

    def __init__(self, most: int, refusal: object) -> None:
        self.most = most
        self.refusal = refusal
        self.asked: list[int] = []

    def __call__(self, form: dict[str, Any]) -> dict[str, Any]:
        first, last = (int(form["params"][0][name], 16) for name in ("fromBlock", "toBlock"))
        self.asked.append(last - first + 1)
        if last - first + 1 > self.most:
            return {"error": self.refusal}
        return {"result": [_log(height) for height in range(first, last + 1)]}


REFUSALS = [
    {"code": -32005, "message": "query returned more than 10000 results"},
    {"code": -32602, "message": "eth_getLogs is limited to a 100 range"},
    {"code": -32000, "message": "exceed maximum block range: 100"},
    {"code": -32614, "message": "block range too large"},
    {"code": 35, "message": "ranges over 100 blocks are not supported"},
    {"code": -32603, "message": "query timeout exceeded"},
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: str(refusal["code"]))
@pytest.mark.parametrize("most", [1, 100, 999])
def test_a_range_that_is_too_long_is_asked_for_in_parts_without_loss_or_repetition(refusal: object, most: int) -> None:
    node = Ranged(most, refusal)
    events = _endpoint(_each(node)).events(1, 2_000)
    assert [event.height for event in events] == list(range(1, 2_001))
    assert len(node.asked) < 1.2 * 2_000 / most + 25


def test_the_size_that_worked_is_remembered_and_grows_again() -> None:
    node = Ranged(100, REFUSALS[0])
    endpoint = _endpoint(_each(node))
    endpoint.events(1, 5_000)
    node.asked.clear()
    endpoint.events(5_001, 10_000)
    assert sum(size > 100 for size in node.asked) <= 3
    node.most = 10_000
    endpoint.events(1, 60_000)
    assert max(node.asked) > 1_000


def test_one_block_that_is_refused_makes_the_chain_unavailable() -> None:
    node = Ranged(0, REFUSALS[0])
    with pytest.raises(ChainUnavailable, match="more than 10000"):
        _endpoint(_each(node)).events(1, 2_000)
    assert len(node.asked) < 20


def test_an_answer_that_is_too_large_is_asked_for_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "RESPONSE_BYTES", 10_000)
    node = Ranged(10**9, None)

    def talk(connection: socket.socket, request: bytes) -> None:
        form = json.loads(request.partition(b"\r\n\r\n")[2])
        connection.sendall(_http(json.dumps(_each(node)(form)).encode()))

    with _listening(talk) as place, _wire(f"http://{place}") as asked:
        events = Endpoint(asked, asked.close, asked.name, contract.REGISTRY).events(1, 100)
    assert [event.height for event in events] == list(range(1, 101))


def test_a_web_socket_that_drops_in_the_middle_loses_and_repeats_nothing() -> None:
    """Every connection is good for three answers."""
    node = Ranged(100, REFUSALS[0])

    def handle(connection: ServerConnection) -> None:
        for _ in range(3):
            connection.send(json.dumps(_each(node)(json.loads(connection.recv()))))

    with _socket_server(handle) as place, _wire(f"ws://{place}") as asked:
        events: Sequence[Event] = Endpoint(asked, asked.close, asked.name, contract.REGISTRY).events(1, 2_000)
    assert [event.height for event in events] == list(range(1, 2_001))


def test_an_endpoint_opens_what_its_address_says(tmp_path: Path) -> None:
    with _socket_server(_echoing(GOOD)) as place:
        endpoint = Endpoint.open(f"ws://{place}/key", state=tmp_path)
        assert endpoint.chain_id == 1
        assert endpoint.name == f"ws://{place}"
        endpoint.close()
