"""Models: a file, and a signed manifest that says what the file is and who answers for it. Nothing else is loaded.

A manifest is a WAVE message with the permission ``admin`` at ``models/NAME`` of the gateway's namespace, beside the
proof that its sender may. So who may replace a model is decided like everything else, and can be taken back.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Self

from wave.bus.message import JSON, Message, authorized
from wave.bus.values import read_json
from wave.codec import VERSION, Format, Record, Version, decode, encode, sha256
from wave.dots.cache import Verifier
from wave.dots.facts import Facts
from wave.dots.proof import Proof
from wave.entities.entity import EntitySecret
from wave.errors import BadModel, BadPayload, MessageStale, ModelAltered, TooLarge, UnsignedModel, WaveError
from wave.limits import LIMITS

FORMATS: Final = ("onnx", "python", "sklearn", "torchscript")
INPUT_TYPES: Final = ("integers", "floats", "doubles", "strings", "bytes")
ADMIN: Final = "admin"

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?")
_VERSION = re.compile(r"[0-9A-Za-z](?:[0-9A-Za-z._-]{0,62}[0-9A-Za-z])?")
_ENTRY = re.compile(r"[A-Za-z_][0-9A-Za-z_]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_KEYS: Final = {"model", "version", "format", "sha256", "size", "input_type", "entry", "confidence"}


def check_name(name: object, what: str) -> str:
    """Return the name of a model or an application, which a path and a resource can hold; :class:`BadModel`."""
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise BadModel(f"{str(name)[:40]!r} is no name of {what}", hint="a name is 1 to 64 of a-z, 0-9, '-' and '_'")
    return name


def check_version(version: object) -> str:
    """Return a version's text; :class:`BadModel`."""
    if not isinstance(version, str) or _VERSION.fullmatch(version) is None:
        raise BadModel(f"{str(version)[:40]!r} is no version", hint="a version is text such as 3 or 2026-11-21")
    return version


def resource_of(model: str, version: str | None = None) -> str:
    """Return the resource that a model is, or one version of it."""
    return f"models/{model}" if version is None else f"models/{model}/{version}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a model's file is: the ``version`` of ``model``, its format, SHA-256 (in hex) and size.

    ``entry`` is the function of a Python file that answers. ``confidence`` says that the model tells how sure it is.
    """

    model: str
    version: str
    format: str
    sha256: str
    size: int
    input_type: str = "doubles"
    entry: str = "predict"
    confidence: bool = False

    def __post_init__(self) -> None:
        """Check every field; :class:`BadModel`."""
        check_name(self.model, "a model")
        check_version(self.version)
        if self.format not in FORMATS:
            raise BadModel(f"there is no format {str(self.format)[:40]!r}", hint=f"there are {', '.join(FORMATS)}")
        if self.input_type not in INPUT_TYPES:
            raise BadModel(f"there is no input type {str(self.input_type)[:40]!r}")
        if type(self.sha256) is not str or _DIGEST.fullmatch(self.sha256) is None:
            raise BadModel("sha256 is 64 digits in hex")
        if type(self.size) is not int or not 0 < self.size <= LIMITS.model_bytes:
            raise BadModel(f"a model has 1 to {LIMITS.model_bytes} bytes")
        if type(self.entry) is not str or _ENTRY.fullmatch(self.entry) is None:
            raise BadModel("entry is the name of a function")
        if type(self.confidence) is not bool:
            raise BadModel("confidence is true or false")

    @classmethod
    def of(cls, artefact: bytes, **fields: Any) -> Self:
        """Return the manifest of these bytes; :class:`BadModel`."""
        return cls(sha256=sha256(artefact).hex(), size=len(artefact), **fields)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Return what a payload says; :class:`BadModel`."""
        try:
            value = read_json(data)
        except BadPayload as error:
            raise BadModel(f"the manifest cannot be read: {error.message}") from None
        if not isinstance(value, dict) or not set(value) <= _KEYS or not {"model", "version", "format"} <= set(value):
            raise BadModel("a manifest is an object of model, version, format, sha256, size and what may follow")
        try:
            return cls(**value)
        except TypeError:
            raise BadModel("the manifest lacks sha256 or size") from None

    def to_json(self) -> Mapping[str, Any]:
        """Return the fields."""
        return {name: getattr(self, name) for name in self.__slots__}

    @property
    def digest(self) -> bytes:
        """The hash of all fields (32 bytes): what answers alike has the same."""
        return sha256(json.dumps(self.to_json(), sort_keys=True).encode("ascii"))

    def check(self, artefact: bytes) -> None:
        """Raise :class:`ModelAltered` unless these bytes are the model."""
        if len(artefact) != self.size or sha256(artefact).hex() != self.sha256:
            raise ModelAltered(f"the file of {self.model} version {self.version} is not the one that was signed")


class _Signed(Record, frozen=True):
    """A manifest as it travels: the message, and the proof that its sender may."""

    version: Version
    message: bytes
    proof: bytes


_SIGNED: Final = Format(_Signed, "model's manifest", LIMITS.model_manifest_bytes)


class SignedModel(NamedTuple):
    """A manifest that was found good, by whom it was signed (an id), and its bytes as they travel."""

    manifest: Manifest
    signer: bytes
    data: bytes


def sign_model(
    signer: EntitySecret, namespace: bytes, manifest: Manifest, proof: Proof, *, now: int, lifetime: int, nonce: bytes
) -> bytes:
    """Return the signed manifest of a model, good for ``lifetime`` seconds; :class:`InputError`."""
    message = Message.create(
        signer,
        permission=ADMIN,
        namespace=namespace,
        resource=resource_of(manifest.model),
        payload=json.dumps(manifest.to_json()).encode("ascii"),
        persist=True,
        created=now,
        expires=now + lifetime,
        nonce=nonce,
        proof=proof.id,
    )
    return _SIGNED.encode(_Signed(VERSION, message.to_bytes(), proof.to_bytes()))


def check_manifest(data: bytes, *, namespace: bytes, facts: Facts, now: int, verifier: Verifier) -> SignedModel:
    """Return what a signed manifest says if its signer may say so now; :meth:`Manifest.check` then looks at the file.

    Raises :class:`UnsignedModel`, :class:`BadModel`, and what :func:`authorized` raises.
    """
    if not data:
        raise UnsignedModel("nobody signed this model")
    signed = _SIGNED.decode(data)
    message, proof = Message.from_bytes(signed.message), Proof.from_bytes(signed.proof)
    manifest = Manifest.parse(message.payload)
    wanted = (namespace, ADMIN, resource_of(manifest.model), JSON, proof.id)
    if (message.namespace, message.permission, str(message.resource), message.content_type, message.proof) != wanted:
        raise UnsignedModel(f"the signature is not about the model {manifest.model} of this gateway")
    if not message.created - LIMITS.clock_skew <= now < message.expires:
        raise MessageStale("the model's signature is past its time, or not yet in it", hint="have it signed again")
    _, sender = authorized(verifier, message.requests(), proof, facts, now=now)
    message.check(sender.verify_key)
    return SignedModel(manifest, message.sender, data)


def parse_manifest(data: bytes) -> Manifest:
    """Return what a signed manifest says, by whomever; :class:`InputError`."""
    return Manifest.parse(Message.from_bytes(_SIGNED.decode(data).message).payload)


# As one body, for the admin API ------------------------------------------------------------------------------------


def packed(manifest: bytes, artefact: bytes) -> bytes:
    """Return a signed manifest and its file as one string of bytes."""
    return encode((VERSION, manifest, artefact))


def unpacked(data: bytes) -> tuple[bytes, bytes]:
    """Return both again; :class:`BadModel`."""
    try:
        value = decode(data, bound=package_bytes())
    except TooLarge:
        raise
    except WaveError as error:
        raise BadModel(f"not a model with its manifest: {error.message}") from None
    if not (isinstance(value, tuple) and len(value) == 3 and value[0] == VERSION):
        raise BadModel("not a model with its manifest")
    _, manifest, artefact = value
    if not isinstance(manifest, bytes) or not isinstance(artefact, bytes):
        raise BadModel("not a model with its manifest")
    return manifest, artefact


def package_bytes() -> int:
    """Return how long a model and its manifest may be together."""
    return LIMITS.model_bytes + LIMITS.model_manifest_bytes + 32
