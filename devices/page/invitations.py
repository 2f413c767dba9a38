"""Invitations: a code in a link, good once, for what its terms say. No code is kept, only its hash."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from devices.page.sharing import Terms
from wave.codec import id_text, sha256
from wave.entities.keyring import read_text, write_file
from wave.errors import BadInvitation, BadTime, MissingFile, TooLarge, WaveError

CODE_BYTES: Final = 16
LIFETIME: Final = 7 * 86_400
MOST: Final = 64
_CODE_CHARACTERS: Final = 22


@dataclass(frozen=True, slots=True)
class Invitation:
    """What a code opens, and until when (UTC seconds) it can be used."""

    terms: Terms
    expires: int


class Invitations:
    """The open invitations of a home, in a file that its owner alone can read."""

    def __init__(self, path: Path, *, clock: Callable[[], float], draw: Callable[[int], bytes]) -> None:
        """Keep them in ``path``; one that cannot be read any more is no invitation."""
        self._path = path
        self._clock = clock
        self._draw = draw
        self._open: dict[str, Invitation] = {}
        try:
            found = json.loads(read_text(path, private=True))
            self._open = {key: Invitation(Terms.read(one["terms"]), int(one["expires"])) for key, one in found.items()}
        except MissingFile:
            pass
        except (ValueError, TypeError, KeyError, AttributeError, WaveError):
            self._open = {}

    def invite(self, terms: Terms) -> tuple[str, Invitation]:
        """Return a new code (22 characters) and what it opens; :class:`BadTime`, :class:`TooLarge`."""
        now = int(self._clock())
        if terms.until <= now:
            raise BadTime("that time is over already")
        self._forget_old(now)
        if len(self._open) >= MOST:
            raise TooLarge(f"{MOST} invitations are open already", hint="withdraw one")
        code = base64.urlsafe_b64encode(self._draw(CODE_BYTES)).rstrip(b"=").decode("ascii")
        invitation = Invitation(terms, min(terms.until, now + LIFETIME))
        self._open[_hash(code)] = invitation
        self._write()
        return code, invitation

    def take(self, code: str) -> Invitation:
        """Return what a code opens and close it for everybody else; :class:`BadInvitation`."""
        found = self._open.pop(_hash(code), None) if len(code) == _CODE_CHARACTERS else None
        if found is None:
            raise BadInvitation("this invitation is not known: it was used or withdrawn")
        self._write()
        if found.expires <= self._clock():
            raise BadInvitation("this invitation is past its time")
        return found

    def put_back(self, code: str, invitation: Invitation) -> None:
        """Open an invitation again that led to nothing."""
        self._open[_hash(code)] = invitation
        self._write()

    def withdraw(self, key: str) -> None:
        """Close an invitation by the key that :meth:`shown` tells; :class:`BadInvitation`."""
        if self._open.pop(key, None) is None:
            raise BadInvitation("this invitation is not open")
        self._write()

    def shown(self) -> list[dict[str, Any]]:
        """Return the open ones for a person to look through; nothing in them opens anything."""
        self._forget_old(int(self._clock()))
        return [{"key": key, "expires": one.expires, **one.terms.to_json()} for key, one in self._open.items()]

    def _forget_old(self, now: int) -> None:
        self._open = {key: one for key, one in self._open.items() if one.expires > now}

    def _write(self) -> None:
        kept = {key: {"terms": one.terms.to_json(), "expires": one.expires} for key, one in self._open.items()}
        write_file(self._path, json.dumps(kept).encode("ascii"), mode=0o600, replace=True)


def _hash(code: str) -> str:
    return id_text(sha256(b"wave/page/invitation/v1\0" + code.encode("utf-8", "surrogatepass")))
