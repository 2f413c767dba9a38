"""The embedded node for other processes: whom it answers, where it listens, and two of them at one place."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.chain.staging import served
from wave.chain import contract, forms
from wave.chain.client import ChainClient
from wave.chain.contract import Published
from wave.chain.listen import is_loopback
from wave.chain.node import EmbeddedNode
from wave.errors import BadSetting, ChainUnavailable, PortInUse, StateUnwritable
from wave.limits import LIMITS

QUESTION = b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}'


def _post(url: str, body: bytes = QUESTION, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    connection.putrequest("POST", "/", skip_host="Host" in (headers or {}))
    for name, value in {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        **(headers or {}),
    }.items():
        connection.putheader(name, value)
    connection.endheaders(body)
    response = connection.getresponse()
    answer = response.status, response.read()
    connection.close()
    return answer


def test_a_client_of_another_thread_publishes_over_tcp(node: EmbeddedNode, tmp_path: Path) -> None:
    with served(node) as url, ChainClient.connect(url, state=tmp_path) as client:
        receipt = client.publish(b"over tcp")
        assert client.events(receipt.height, receipt.height) == [Published(receipt.height, 0, b"over tcp")]


def test_a_client_publishes_over_a_unix_socket_that_only_its_owner_can_use(node: EmbeddedNode, tmp_path: Path) -> None:
    path = tmp_path / "chain.sock"
    with served(node, path=path) as address, ChainClient.connect(address, state=tmp_path) as client:
        assert address == f"unix:{path}"
        assert path.stat().st_mode & 0o777 == 0o600
        assert client.publish(b"over a socket").height == client.head().number
    assert not path.exists()


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8545", "127.0.0.1.evil.example", "", "[::2]:8545", "[::1].evil.example"]
)
def test_a_host_header_that_names_another_machine_is_refused(node: EmbeddedNode, host: str) -> None:
    with served(node) as url:
        status, answer = _post(url, headers={"Host": host})
    assert (status, json.loads(answer)["error"]["code"]) == (403, forms.INVALID_REQUEST)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:8545", "[::1]:8545"])
def test_a_host_header_that_names_this_machine_is_answered(node: EmbeddedNode, host: str) -> None:
    with served(node) as url:
        status, answer = _post(url, headers={"Host": host})
    assert (status, json.loads(answer)["result"]) == (200, hex(contract.CHAIN_ID))


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_what_a_page_in_a_browser_may_send_anywhere_is_refused(node: EmbeddedNode, kind: str) -> None:
    with served(node) as url:
        assert _post(url, headers={"Content-Type": kind})[0] == 415


def test_a_request_at_the_bound_is_read_and_one_byte_more_is_not(node: EmbeddedNode) -> None:
    with served(node) as url:
        assert _post(url, QUESTION.ljust(LIMITS.request_bytes))[0] == 200
        assert _post(url, QUESTION.ljust(LIMITS.request_bytes + 1))[0] == 413


def test_a_notification_gets_no_content(node: EmbeddedNode) -> None:
    with served(node) as url:
        assert _post(url, b'{"jsonrpc":"2.0","method":"eth_chainId"}') == (204, b"")


def test_senders_on_several_connections_share_one_payer(node: EmbeddedNode, tmp_path: Path) -> None:
    faults: list[Exception] = []

    def publish(url: str, name: int) -> None:
        try:
            with ChainClient.connect(url, state=tmp_path) as client:
                for number in range(5):
                    client.publish(b"%d/%d" % (name, number))
        except Exception as error:  # noqa: BLE001 - looked at below
            faults.append(error)

    with served(node) as url:
        threads = [threading.Thread(target=publish, args=(url, name)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert faults == []
        with ChainClient.connect(url, state=tmp_path) as client:
            said = {event.data for event in client.events(0, client.head().number) if isinstance(event, Published)}
    assert said == {b"%d/%d" % (name, number) for name in range(4) for number in range(5)}


def test_a_port_in_use_is_named(node: EmbeddedNode) -> None:
    with served(node) as url:
        port = urlsplit(url).port
        with pytest.raises(PortInUse, match=str(port)), served(node, port=port):
            pass


def test_a_socket_in_use_is_named_and_left_alone(node: EmbeddedNode, tmp_path: Path) -> None:
    path = tmp_path / "chain.sock"
    with served(node, path=path) as address:
        with pytest.raises(PortInUse), served(node, path=path):
            pass
        with ChainClient.connect(address, state=tmp_path) as client:
            assert client.head().number > 0


def test_a_socket_left_by_a_dead_process_is_replaced(node: EmbeddedNode, tmp_path: Path) -> None:
    path = tmp_path / "chain.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(os.fspath(path))
    with served(node, path=path) as address, ChainClient.connect(address, state=tmp_path) as client:
        assert client.head().number > 0


def test_a_file_that_is_no_socket_is_not_replaced(node: EmbeddedNode, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(PortInUse), served(node, path=tmp_path / "file"):
        pass
    assert (tmp_path / "file").read_text() == "mine"


def test_a_socket_in_a_directory_that_is_none_is_unwritable(node: EmbeddedNode, tmp_path: Path) -> None:
    with pytest.raises(StateUnwritable), served(node, path=tmp_path / "none" / "chain.sock"):
        pass


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_another_address_than_loopback_needs_an_explicit_wish(node: EmbeddedNode, host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(BadSetting), served(node, host=host):
        pass


def test_with_the_explicit_wish_every_host_header_is_answered(node: EmbeddedNode) -> None:
    with served(node, host="0.0.0.0", anywhere=True) as url:
        port = urlsplit(url).port
        assert _post(f"http://127.0.0.1:{port}", headers={"Host": "chain.example"})[0] == 200


def test_a_port_that_is_none_is_a_bad_setting(node: EmbeddedNode) -> None:
    with pytest.raises(BadSetting), served(node, port=70_000):
        pass


_RUN = """
import sys
from pathlib import Path
from wave.chain.node import EmbeddedNode
from wave.chain.serve import run
with EmbeddedNode.open(Path(sys.argv[1])) as node:
    run(node, port=0, ready=lambda url: print(url, flush=True))
print("closed", flush=True)
"""


def test_a_node_of_its_own_process_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    run = [sys.executable, "-c", _RUN, str(tmp_path / "chain")]
    with subprocess.Popen(run, stdout=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stdout is not None
        url = child.stdout.readline().strip()
        with ChainClient.connect(url, state=tmp_path) as client:
            client.publish(b"kept")
        child.send_signal(signal.SIGTERM)
        assert child.stdout.readline() == "closed\n"
        assert child.wait(20) == 0
    with pytest.raises(ChainUnavailable):
        ChainClient.connect(url, state=tmp_path)
    with EmbeddedNode.open(tmp_path / "chain") as node:
        assert len(node.logs(0, 100, limit=10)) == 1
