"""mqtts://: the broker shows a certificate that the system's authorities vouch for, or nothing is sent."""

import datetime as dt
import ipaddress
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.mqtt.broker import Mosquitto, plain
from tests.mqtt.village import SLOT, Village, granted
from tests.world import World
from wave.errors import BrokerUnavailable


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker whose certificate signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    with plain(tmp_path, f"certfile {tmp_path}/cert.pem", f"keyfile {tmp_path}/key.pem") as found:
        yield found


async def test_a_certificate_of_nobodys_is_refused_and_a_vouched_one_taken(
    world: World, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    village: Village = granted(world)
    village.url = f"mqtts://127.0.0.1:{broker.port}"
    async with village.bus("alice", patience=1.0) as alice:
        with pytest.raises(BrokerUnavailable, match="certificate"):
            await alice.publish(village.home, SLOT, b"1")
    monkeypatch.setenv("SSL_CERT_FILE", str(broker.directory / "cert.pem"))
    async with village.bus("alice") as alice:
        assert await alice.publish(village.home, SLOT, b"1") == 0
