"""What a refused client is answered: a problem it can read, and with a 401 what it has to sign and to show."""

import json
from typing import Any, Final, NamedTuple

from wave.codec import id_text
from wave.errors import BeforeRestart, WaveError
from wave.guard.rules import Wanted
from wave.guard.signature import COMPONENTS, LABEL, TAG

PROBLEM: Final = "application/problem+json"
_UNAUTHENTICATED: Final = 401


class Answer(NamedTuple):
    """An answer as any server can give it."""

    status: int
    headers: dict[str, str]
    body: bytes


def refusal(error: WaveError, *, realm: str, namespace: bytes, wanted: Wanted | None, nonce: str) -> Answer:
    """Return the answer to a request that was refused: RFC 9457 problem details, with a challenge where one helps.

    Clients of the Open Inference Protocol find the message as ``error``.
    """
    headers = {"Content-Type": PROBLEM, "Cache-Control": "no-store"}
    if error.http_status == _UNAUTHENTICATED or isinstance(error, BeforeRestart):
        named = {"realm": realm, "namespace": id_text(namespace)}
        if wanted is not None:
            named |= {"resource": str(wanted.resource), "permission": wanted.permission}
            if wanted.permission_set is not None:
                named["set"] = id_text(wanted.permission_set)
        named |= {"nonce": nonce, "error": error.code}
        headers["WWW-Authenticate"] = "WAVE " + ", ".join(f'{name}="{_quoted(text)}"' for name, text in named.items())
        headers["Accept-Signature"] = f'{LABEL}={COMPONENTS};created;expires;nonce="{nonce}";alg="ed25519";tag="{TAG}"'
    details: dict[str, Any] = {**error.problem(), "error": error.message}
    return Answer(error.http_status, headers, json.dumps(details).encode("utf-8"))


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
