"""Signed HTTP requests: RFC 9421 message signatures over a fixed set of components, with RFC 9530 digests.

What must be covered never varies with what a sender leaves out: method, authority, path, query, the body's digest and
the proof. A request that covers less proves nothing (DESIGN §8, fault 10).
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

from wave.codec import id_text
from wave.entities import keys
from wave.entities.entity import EntitySecret
from wave.errors import BadDigest, BadHttpSignature, HeaderTooLarge, MessageStale, NotSigned
from wave.limits import LIMITS
from wave.times import instant_text, span_text

TAG: Final = "wave"
LABEL: Final = "wave"
SIGNATURE: Final = "signature"
SIGNATURE_INPUT: Final = "signature-input"
CONTENT_DIGEST: Final = "content-digest"
PROOF_HEADER: Final = "wave-proof"
SESSION_HEADER: Final = "wave-session"
CARRIED: Final = (CONTENT_DIGEST, PROOF_HEADER, SIGNATURE, SIGNATURE_INPUT, SESSION_HEADER)
COVERED: Final = ("@method", "@authority", "@path", "@query", CONTENT_DIGEST, PROOF_HEADER)
COMPONENTS: Final = "(" + " ".join(f'"{name}"' for name in COVERED) + ")"
NONCE_BYTES: Final = 16

_ALGORITHM: Final = "ed25519"
_OWN_LABEL: Final = f"{LABEL}="
_OWN_INPUT: Final = f"{_OWN_LABEL}{COMPONENTS};created="  # and then, as compared sooner than by a pattern:
_OWN_PARAMETERS = re.compile(
    r'(\d{1,12});expires=(\d{1,12});nonce="([\w-]{16,64})";keyid="([\w-]{43})";tag="wave"', re.ASCII
)
_OWN_SIGNATURE: Final = f"{_OWN_LABEL}:"
_NONCE = re.compile(r"[!-~]{16,64}")
_BOUNDED: Final = (SIGNATURE_INPUT, SIGNATURE, CONTENT_DIGEST)


class HttpRequest(NamedTuple):
    """A request as a guard sees it, whatever serves it.

    ``path`` and ``query`` (with its ``?``, or empty) are as sent, undecoded; ``authority`` is the Host header's value
    and ``scheme`` http or https; ``headers`` are asked by lower-case names; the values of a repeated one are
    joined by ", ", or given by ``getall``.
    """

    method: str
    scheme: str
    authority: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b""

    def component(self, name: str) -> str:
        """Return the value of a component (RFC 9421 §2); :class:`BadHttpSignature` for one that is not there."""
        derived = {
            "@method": self.method,
            "@authority": normal_authority(self.scheme, self.authority),
            "@scheme": self.scheme,
            "@path": self.path or "/",
            "@query": self.query or "?",
            "@request-target": self.path + self.query,
            "@target-uri": f"{self.scheme}://{self.authority}{self.path}{self.query}",
        }
        value = derived.get(name) if name.startswith("@") else self.field(name)
        if value is None:
            raise BadHttpSignature(f"the signature covers {name[:40]!r}, which the request does not have")
        return value.strip()

    def field(self, name: str) -> str | None:
        """Return a header field, the values of a repeated one joined; None when it is not there."""
        several = getattr(self.headers, "getall", None)
        return self.headers.get(name) if several is None else ", ".join(several(name, ())) or None


class Signed(NamedTuple):
    """Who says to have signed a request, when (UTC seconds) and with which nonce. Nothing of it is believed yet.

    ``key`` is an entity's id in text; ``base`` is what was signed.
    """

    key: str
    created: int
    expires: int
    nonce: str
    base: bytes
    value: bytes


@lru_cache(LIMITS.routes_known)
def normal_authority(scheme: str, authority: str) -> str:
    """Return an authority as RFC 9421 §2.2.3 has it: lower case, without the scheme's default port."""
    return authority.lower().removesuffix(":443" if scheme == "https" else ":80")


def content_digest(body: bytes) -> str:
    """Return the Content-Digest (RFC 9530) of a body."""
    return f"sha-256=:{binascii.b2a_base64(hashlib.sha256(body).digest(), newline=False).decode()}:"


def sign(sender: EntitySecret, request: HttpRequest, *, created: int, expires: int, nonce: bytes) -> dict[str, str]:
    """Return the headers that sign ``request``, whose ``wave-proof`` is among its headers already, as ``sender``.

    ``nonce`` is 16 bytes never used before. The bytes as sent are signed: whoever alters path, query or body after this
    sends what nobody signed.
    """
    text = nonce_text(nonce)
    digest, key = content_digest(request.body), id_text(sender.id)
    parameters = f'{COMPONENTS};created={created};expires={expires};nonce="{text}";keyid="{key}";tag="{TAG}"'
    value = sender.sign_request(own_base(request, digest, request.headers[PROOF_HEADER], parameters))
    return {
        "Content-Digest": digest,
        "Signature-Input": f"{LABEL}={parameters}",
        "Signature": f"{LABEL}=:{base64.b64encode(value).decode('ascii')}:",
    }


def nonce_text(nonce: bytes) -> str:
    """Return a nonce as it stands in a signature's parameters."""
    return base64.urlsafe_b64encode(nonce).rstrip(b"=").decode("ascii")


def read(request: HttpRequest) -> Signed:
    """Return who says to have signed ``request``; its body has still to be compared (:func:`check_digest`).

    Any signature of RFC 9421 with our tag will do that covers what it must, whatever its label, order and further
    components; our own form is read without a parser for structured fields. :class:`NotSigned` when there is none,
    :class:`BadHttpSignature` when it cannot be read or covers less, :class:`HeaderTooLarge`.
    """
    headers = request.headers
    given, signature = headers.get(SIGNATURE_INPUT), headers.get(SIGNATURE)
    if given is None or signature is None:
        raise NotSigned("the request is not signed")
    digest, proof = headers.get(CONTENT_DIGEST), headers.get(PROOF_HEADER)
    if digest is None or proof is None:
        raise BadHttpSignature("the request lacks Content-Digest or Wave-Proof, which the signature must cover")
    if len(given) + len(signature) + len(digest) > LIMITS.http_header_bytes:
        _check_sizes(headers)
    if len(proof) > LIMITS.http_proof_bytes:
        raise HeaderTooLarge(f"a proof of {len(proof)} characters; a header may have {LIMITS.http_proof_bytes}")
    own = _OWN_PARAMETERS.fullmatch(given, len(_OWN_INPUT)) if given.startswith(_OWN_INPUT) else None
    value = _own_value(signature)
    if own is None or value is None:
        return _any_form(request, request.field(SIGNATURE_INPUT) or "", request.field(SIGNATURE) or "")
    created, expires, nonce, key = own.groups()
    if len(value) != keys.SIGNATURE_BYTES:
        raise BadHttpSignature(f"a signature of {len(value)} bytes")
    base = own_base(request, digest, proof, given[len(_OWN_LABEL) :])
    return Signed(key, int(created), int(expires), nonce, base, value)


def _own_value(text: str) -> bytes | None:
    """Return the bytes of a signature in our own form, or None for any other form."""
    if text.startswith(_OWN_SIGNATURE) and text.endswith(":"):
        try:
            value = binascii.a2b_base64(text[len(_OWN_SIGNATURE) : -1], strict_mode=True)
        except ValueError:
            return None
        if _in_base64(value) in text:
            return value
    return None


def _in_base64(value: bytes) -> str:
    """Return the one text between colons that means ``value``: the last letter has bits that readers leave out."""
    return f":{binascii.b2a_base64(value, newline=False).decode()}:"


def check_age(created: int, expires: int, now: int) -> None:
    """Raise :class:`MessageStale` unless a request counts by its sender's clock (UTC seconds)."""
    if now < expires and created <= now + LIMITS.clock_skew:
        return
    behind = now - created
    apart = f"{span_text(-behind)} in the future" if behind < 0 else f"{span_text(behind)} ago"
    raise MessageStale(
        f"the request was signed {apart}, by its sender's clock: it was held back, or the clocks differ by as much",
        hint=f"here it is {instant_text(now)}; set the clock that is wrong",
    )


def check_digest(request: HttpRequest) -> None:
    """Raise :class:`BadDigest` unless SHA-256 of the body is what the request's Content-Digest says."""
    given = request.headers.get(CONTENT_DIGEST, "")
    if given == content_digest(request.body):
        return
    digest, _ = _fields(given).get("sha-256", (None, {}))
    if not isinstance(digest, bytes) or digest != hashlib.sha256(request.body).digest():
        raise BadDigest("the body is not the one whose digest was signed")


def _check_sizes(headers: Mapping[str, str]) -> None:
    for name in _BOUNDED:
        if len(headers[name]) > LIMITS.http_header_bytes:
            raise HeaderTooLarge(f"{name} has {len(headers[name])} characters; at most {LIMITS.http_header_bytes} do")


def own_base(request: HttpRequest, digest: str, proof: str, parameters: str) -> bytes:
    """Return the signature base (RFC 9421 §2.5) with ``COVERED`` in order; :class:`BadHttpSignature`."""
    return _base(
        f'{_beginning(request)}"content-digest": {digest}\n"wave-proof": {proof}\n"@signature-params": {parameters}',
        len(COVERED),
    )


def beginning(request: HttpRequest) -> str:
    """Return the lines with which a signature base with ``COVERED`` begins, up to the query; BadHttpSignature."""
    text = _beginning(request)
    _base(text, 4)
    return text


def _beginning(request: HttpRequest) -> str:
    method, scheme, authority, path, query, _, _ = request
    return (
        f'"@method": {method}\n"@authority": {normal_authority(scheme, authority)}\n"@path": {path or "/"}\n'
        f'"@query": {query or "?"}\n'
    )


def _base(text: str, components: int) -> bytes:
    """Return a signature base's bytes; :class:`BadHttpSignature` where a value holds what no header may."""
    if text.count("\n") != components or not text.isascii():
        raise BadHttpSignature("the request holds characters that a signature cannot cover", hint="percent-encode them")
    return text.encode()


def _any_form(request: HttpRequest, given: str, signature: str) -> Signed:
    """Read a signature of another writer of RFC 9421."""
    if max(len(given), len(signature)) > LIMITS.http_header_bytes:
        raise HeaderTooLarge(f"at most {LIMITS.http_header_bytes} characters of signatures are read")
    found = [
        (label, components, parameters)
        for label, (components, parameters) in _fields(given).items()
        if isinstance(components, list) and parameters.get("tag") == TAG
    ]
    if len(found) != 1:
        raise NotSigned(f"the request has {len(found)} signatures with the tag {TAG!r}, and one is wanted")
    label, components, parameters = found[0]
    names = _names(components)
    if missing := [name for name in COVERED if name not in names]:
        raise BadHttpSignature(f"the signature does not cover {', '.join(missing)}")
    value, _ = _fields(signature).get(label, (None, {}))
    created, expires, nonce, key = (parameters.get(one) for one in ("created", "expires", "nonce", "keyid"))
    if (
        not isinstance(value, bytes)
        or len(value) != keys.SIGNATURE_BYTES
        or _in_base64(value) not in signature
        or type(created) is not int
        or type(expires) is not int
        or not isinstance(nonce, str)
        or not _NONCE.fullmatch(nonce)
        or not isinstance(key, str)
        or parameters.get("alg", _ALGORITHM) != _ALGORITHM
    ):
        raise BadHttpSignature(
            f"the signature needs created, expires, a nonce of 16 to 64 characters, keyid and {_ALGORITHM}"
        )
    lines = [f'"{name}": {request.component(name)}' for name in names]
    lines.append(f'"@signature-params": {_serialized(components, parameters)}')
    return Signed(key, created, expires, nonce, _base("\n".join(lines), len(names)), value)


def _serialized(components: Any, parameters: Any) -> str:
    import http_sf

    return http_sf.ser({LABEL: (components, parameters)}).removeprefix(f"{LABEL}=")


def _fields(text: str) -> dict[str, Any]:
    """Return a structured dictionary (RFC 9651); :class:`BadHttpSignature`."""
    import http_sf

    def twice(key: str, context: str) -> None:
        raise ValueError(f"{key} stands twice in a {context}")

    try:
        found = http_sf.parse(text.encode("ascii"), tltype="dictionary", on_duplicate_key=twice)
    except (ValueError, RecursionError) as error:
        raise BadHttpSignature(f"a field of the signature cannot be read: {str(error)[:120]}") from None
    assert isinstance(found, dict)
    return found


def _names(components: Sequence[Any]) -> list[str]:
    """Return the names of components, each once and without parameters; :class:`BadHttpSignature`."""
    names = [name for name, parameters in components if isinstance(name, str) and not parameters]
    if len(names) != len(components) or len(set(names)) != len(names):
        raise BadHttpSignature("the signature covers a component twice, or in a form that is not known here")
    return names
