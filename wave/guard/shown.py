"""Proofs as requests show them: whole (``:base64:``), or by the id of one that was shown before (``id=…``)."""

import base64
from collections import OrderedDict
from typing import Final, NamedTuple

from wave.bus.message import bounds_values
from wave.codec import from_base64, id_text
from wave.dots.proof import Proof
from wave.errors import Malformed, ProofWanted
from wave.limits import LIMITS

_ID: Final = "id="


class Shown(NamedTuple):
    """A proof, its id (32 bytes), and whether a condition in it is about values of the request."""

    proof: Proof
    identity: bytes
    valued: bool

    @classmethod
    def of(cls, proof: Proof) -> "Shown":
        """Look at a proof."""
        return cls(proof, proof.id, bounds_values(proof))


def whole(proof: Proof) -> str:
    """Return the header's value that holds a proof."""
    return f":{base64.b64encode(proof.to_bytes()).decode('ascii')}:"


def by_id(proof: Proof) -> str:
    """Return the header's value that names a proof."""
    return f"{_ID}{id_text(proof.id)}"


class ProofsShown:
    """The proofs by which requests were let through, the last ones, under both spellings of the header."""

    def __init__(self, bound: int = LIMITS.proofs_known, size: int = LIMITS.proofs_known_bytes) -> None:
        """Keep at most ``bound`` proofs, of ``size`` bytes together."""
        self._bound = 2 * bound
        self._size = size
        self._kept = 0
        self._shown: OrderedDict[str, Shown] = OrderedDict()

    def __len__(self) -> int:
        """How many spellings are kept."""
        return len(self._shown)

    def find(self, text: str) -> Shown:
        """Return the proof that a header's value shows; :class:`ProofWanted` for an id not known, or InputError."""
        shown = self._shown.get(text)
        if shown is not None:
            self._shown.move_to_end(text)
            return shown
        if not text.startswith(":") or not text.endswith(":") or len(text) < 2:
            if text.startswith(_ID):
                raise ProofWanted("no proof of that id was shown here, or it was long ago")
            raise Malformed("Wave-Proof is neither a proof in base64 between colons, nor the id of one after 'id='")
        try:
            data = from_base64(text[1:-1])
        except Malformed:
            raise Malformed("Wave-Proof is not base64") from None
        return Shown.of(Proof.from_bytes(data))

    def keep(self, text: str, shown: Shown) -> None:
        """Remember a proof by which a request was let through."""
        if text in self._shown:
            return
        for spelling in (text, f"{_ID}{id_text(shown.identity)}"):
            if spelling not in self._shown:
                self._shown[spelling] = shown
                self._kept += len(shown.proof.data)
        while len(self._shown) > self._bound or self._kept > self._size:
            _, oldest = self._shown.popitem(last=False)
            self._kept -= len(oldest.proof.data)
