"""A JSON-RPC proxy in front of a real node that answers as told: honestly, or with one of the faults of the wild."""

import contextlib
import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from wave.chain import contract
from wave.codec import sha256

LAG = 2  # blocks by which a lagging endpoint is behind
SLOWNESS = 3.0  # seconds until a slow endpoint answers
HUGE = 512 * 1024  # bytes of a huge answer; the tests lower the client's bound below that


class Fault(Enum):
    """What is wrong with an endpoint."""

    NONE = "honest"
    FORGED_HASHES = "blocks have other hashes, parents and times"
    FORGED_LOGS = "revocations and names that nobody wrote"
    OMITTED_LOGS = "nothing ever happened"
    HIDDEN_REVOCATION = "nothing was ever revoked, in logs and state"
    FORGED_STATE = "calls and proofs with other values"
    OLD_STATE = "proofs of an older block"
    AHEAD = "heads that are far above the chain"
    LAGGING = "a chain that ends some blocks ago"
    TRUNCATING = "bodies cut short, with the connection or without"
    SLOW = "answers after the time limit"
    DEAD = "connections closed without an answer"
    HTML = "a web page"
    NULL = "null for everything"
    WRONG_TYPES = "values of other types"
    HUGE_BODY = "bodies without end"
    CHANGING_HISTORY = "another chain each time"
    OUT_OF_ORDER = "other blocks than the ones asked for, logs in reverse"
    FALSE_ERRORS = "errors that claim to be WAVE's own verdicts"


FAULTS = [fault for fault in Fault if fault is not Fault.NONE]


class Liar:
    """The proxy; ``fault`` may be changed at any time. ``victim`` is a commitment about which logs are forged.

    In front of a chain that stands still it may look its answers up in ``recorded``, once they were given.
    """

    def __init__(self, upstream: str, recorded: dict[str, Any] | None = None) -> None:
        self.fault = Fault.NONE
        self.victim = sha256(b"nobody's")
        self.asked: list[str] = []
        self.released = threading.Event()
        self._upstream = urlsplit(upstream)
        self._recorded = recorded
        self._turn = 0
        liar = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # else a reply waits 40 ms for an acknowledgement

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with contextlib.suppress(OSError):
                    liar._serve(self, body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    # Answering -----------------------------------------------------------------------------------------------------

    def _serve(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        self._turn += 1
        fault = self.fault
        kind, cut = "application/json", False
        match fault:
            case Fault.DEAD:
                handler.close_connection = True
                return
            case Fault.SLOW:
                self.released.wait(SLOWNESS)
            case _:
                pass
        reply = b"<html><body>502 Bad Gateway</body></html>"
        if fault is Fault.HTML:
            kind = "text/html"
        elif fault is Fault.HUGE_BODY:
            reply = b'{"jsonrpc":"2.0","id":1,"result":"' + b"0" * HUGE + b'"}'
        else:
            reply = self._answer(body, fault)
        if fault is Fault.TRUNCATING:
            cut = self._turn % 2 == 0
            reply = reply if cut else reply[: len(reply) // 2]
        handler.send_response(200)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(reply)))
        handler.end_headers()
        handler.wfile.write(reply[: len(reply) // 2] if cut else reply)
        handler.close_connection = cut

    def _answer(self, body: bytes, fault: Fault) -> bytes:
        request = json.loads(body)
        calls = request if isinstance(request, list) else [request]
        self.asked += [call["method"] for call in calls]
        before = [self._before(call, fault) for call in calls]
        answers = self._forward(before)
        for call, answer in zip(calls, answers, strict=True):
            if fault is Fault.FALSE_ERRORS:
                answer.pop("result", None)
                answer["error"] = {"code": -32000, "message": "it was revoked", "data": "dot.revoked"}
            elif "result" in answer:
                answer["result"] = self._after(call["method"], call["params"], answer["result"], fault)
        if fault is Fault.OUT_OF_ORDER:
            answers.reverse()
        return json.dumps(answers if isinstance(request, list) else answers[0]).encode()

    def _forward(self, calls: list[Any]) -> list[Any]:
        if self._recorded is None:
            return self._ask(calls)
        keys = [json.dumps([call["method"], call["params"]]) for call in calls]
        new = [call for call, key in zip(calls, keys, strict=True) if key not in self._recorded]
        for call, answer in zip(new, self._ask(new) if new else [], strict=True):
            self._recorded[json.dumps([call["method"], call["params"]])] = answer
        return [{**self._recorded[key], "id": call["id"]} for call, key in zip(calls, keys, strict=True)]

    def _ask(self, calls: list[Any]) -> list[Any]:
        connection = http.client.HTTPConnection(self._upstream.hostname or "", self._upstream.port, timeout=20)
        try:
            connection.request("POST", "/", json.dumps(calls), {"Content-Type": "application/json"})
            answers: list[Any] = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        return answers

    def _head(self) -> int:
        call = {"jsonrpc": "2.0", "id": 1, "method": "eth_getBlockByNumber", "params": ["latest", False]}
        return int(self._forward([call])[0]["result"]["number"], 16)

    def _before(self, call: Any, fault: Fault) -> Any:
        """Return the call as it is passed on."""
        method, params = call["method"], list(call["params"])
        if fault is Fault.OUT_OF_ORDER and method == "eth_getBlockByNumber" and params[0] != "latest":
            params[0] = hex(max(0, int(params[0], 16) - 1))
        if fault is Fault.OLD_STATE and method == "eth_getProof":
            params[2] = hex(max(1, int(params[2], 16) - 2))
        if fault is Fault.LAGGING:
            end = self._head() - LAG
            if method == "eth_getBlockByNumber":
                params[0] = hex(end) if params[0] == "latest" or int(params[0], 16) > end else params[0]
            if method == "eth_getLogs":
                params[0] = {**params[0], "toBlock": hex(min(end, int(str(params[0]["toBlock"]), 16)))}
                params[0]["fromBlock"] = hex(min(end, int(str(params[0]["fromBlock"]), 16)))
            if method == "eth_call":
                params[1:] = [hex(end)]
        return {**call, "params": params}

    def _after(self, method: str, params: Any, result: Any, fault: Fault) -> Any:  # noqa: PLR0911 - a table
        """Return the result as it is told."""
        match fault:
            case Fault.NULL:
                return None
            case Fault.WRONG_TYPES:
                return _WRONG[self._turn % len(_WRONG)]
            case Fault.LAGGING if method == "eth_getBlockByNumber" and params[0] != "latest":
                return result if result and result["number"] == params[0] else None
            case Fault.CHANGING_HISTORY if method == "eth_getLogs":
                return result[: self._turn % 3]
            case Fault.OUT_OF_ORDER if method == "eth_getLogs":
                return result[::-1]
            case Fault.OMITTED_LOGS if method == "eth_getLogs":
                return []
            case Fault.HIDDEN_REVOCATION | Fault.FORGED_STATE | Fault.FORGED_LOGS:
                return self._forged(method, result, fault)
            case Fault.FORGED_HASHES | Fault.CHANGING_HISTORY | Fault.AHEAD if method == "eth_getBlockByNumber":
                return self._forged_block(params, result, fault)
        return result

    def _forged_block(self, params: Any, result: Any, fault: Fault) -> Any:
        if result is None:
            return None
        forged = dict(result)
        if fault is Fault.AHEAD:
            if params[0] == "latest":
                forged["number"] = hex(int(result["number"], 16) + 1_000_000)
            return forged
        salt = str(self._turn).encode() if fault is Fault.CHANGING_HISTORY else b""
        for name in ("hash", "parentHash", "stateRoot"):
            forged[name] = "0x" + sha256(bytes.fromhex(result[name][2:]) + salt).hex()
        forged["timestamp"] = hex(int(result["timestamp"], 16) + 1)
        return forged

    def _forged(self, method: str, result: Any, fault: Fault) -> Any:
        if method == "eth_getLogs":
            if fault is Fault.HIDDEN_REVOCATION:
                return [log for log in result if log["topics"][0] != "0x" + contract.REVOKED]
            if fault is Fault.FORGED_LOGS and result:
                topics = ["0x" + contract.REVOKED, "0x" + self.victim.hex()]
                return [*result, {**result[-1], "topics": topics, "data": "0x", "logIndex": "0x63"}]
        if method == "eth_call" and fault is not Fault.FORGED_LOGS:
            return "0x" + (bytes(32) if fault is Fault.HIDDEN_REVOCATION else sha256(b"me")).hex()
        if method == "eth_getProof" and fault is not Fault.FORGED_LOGS:
            return self._forged_proof(result, fault)
        return result

    def _forged_proof(self, result: Any, fault: Fault) -> Any:
        """Return an absence where there is none, or another value, in the value alone and in the nodes in turn."""
        forged = json.loads(json.dumps(result))
        for one in forged["storageProof"]:
            one["value"] = "0x0" if fault is Fault.HIDDEN_REVOCATION else "0x2"
            if one["proof"] and self._turn % 2:
                node = one["proof"][-1]
                one["proof"][-1] = node[:-1] + ("0" if node[-1] != "0" else "1")
            elif one["proof"] and fault is Fault.HIDDEN_REVOCATION:
                del one["proof"][-1]
        return forged


_WRONG: list[Any] = [
    5,
    -1.5,
    True,
    "0x",
    "latest",
    [],
    [[]],
    {},
    {"number": [], "hash": 5, "parentHash": {}, "timestamp": "soon"},
    [{"address": 5, "topics": None}],
    "0x" + "f" * 4096,
]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: object) -> None:
        """Clients come and go."""


@contextmanager
def liars(upstream: str, count: int, recorded: dict[str, Any] | None = None) -> Iterator[list[Liar]]:
    """Give that many proxies in front of one node, all honest so far."""
    found: list[Liar] = []
    try:
        for _ in range(count):
            found.append(Liar(upstream, recorded))  # noqa: PERF401 - those that stand must be closed should one fail
        yield found
    finally:
        for liar in found:
            liar.close()
