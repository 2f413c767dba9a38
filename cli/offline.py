"""Checking a stapled proof with nothing but a trusted block: no agent, no network."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from cli import reference, ui
from cli.session import Session
from wave.agent.settings import parse_address
from wave.agent.views import path_ids
from wave.chain import contract
from wave.chain.header import Header
from wave.chain.staple import Staple
from wave.chain.staple import check as check_staple
from wave.dots.facts import Facts
from wave.dots.proof import Proof
from wave.dots.request import Request
from wave.dots.verify import Grant, verify
from wave.errors import BadHeader, BadRequest, NotStapled, StaleFacts
from wave.limits import LIMITS
from wave.times import instant_text, parse_duration

_HASH: Final = re.compile(r"(?:0x)?([0-9a-fA-F]{64})")


@dataclass(frozen=True, slots=True)
class Trust:
    """What an offline check takes for granted: a block's hash, the registry's address, how old the block may be."""

    block_hash: bytes
    registry: bytes
    max_age: int

    @classmethod
    def read(cls, session: Session, block: str, *, max_age: str | None, registry: str | None) -> Self:
        """Return what the options say, and the environment where they say nothing; :class:`InputError`."""
        return cls(
            _block_hash(block),
            parse_address(registry) if registry else session.settings.registry or contract.REGISTRY,
            LIMITS.max_staleness if max_age is None else parse_duration(max_age),
        )


@dataclass(frozen=True, slots=True)
class Yes:
    """A proof that holds, as of the staple's block."""

    grant: Grant
    facts: Facts

    def document(self) -> dict[str, Any]:
        """Return the verdict for programs."""
        return {
            "height": self.facts.height,
            "block_hash": f"0x{self.facts.block_hash.hex()}",
            "block_time": self.facts.time,
            "until": self.grant.until,
            "paths": [path_ids(path) for path in self.grant.paths],
            "rates": [str(rate.condition) for rate in self.grant.rates],
        }

    def lines(self, who: str, texts: Sequence[str]) -> list[ui.Line]:
        """Return the verdict for people."""
        return [
            (ui.paint("yes", "green"), f": {who} may {' '.join(texts)}"),
            *ui.fields(
                [
                    ("until", instant_text(self.grant.until)),
                    ("block", f"{self.facts.height} of {instant_text(self.facts.time)}"),
                    ("still to count", ", ".join(str(rate.condition) for rate in self.grant.rates)),
                ]
            ),
        ]


def check(proof: Proof, staple: str | None, request: Request, trust: Trust, *, now: int, at_least: int | None) -> Yes:
    """Return the verdict by the staple alone; :class:`Refused`, or :class:`Unavailable` when it cannot tell."""
    if staple is None:
        raise NotStapled("the proof carries no staple", hint="'wave prove --staple -o FILE.proof' adds one")
    facts = check_staple(Staple.from_text(staple), trust.block_hash, registry=trust.registry)
    try:
        grant = verify(proof, request, facts, now=now, max_staleness=trust.max_age, at_least=at_least)
    except StaleFacts as error:
        hint = "staple the proof to a newer block, or accept an older one with --max-age"
        raise StaleFacts(error.message, hint=hint) from None
    return Yes(grant, facts)


def _block_hash(text: str) -> bytes:
    """Return the hash that ``text`` is, or that the file of that name holds: as text, or a block's JSON."""
    found = _HASH.fullmatch(text)
    if found is None:
        content = reference.read_any(text).strip()
        found = _HASH.fullmatch(content)
        if found is None:
            return _header(content, text).hash
    return bytes.fromhex(found[1])


def _header(content: str, file: str) -> Header:
    try:
        form = json.loads(content)
        if isinstance(form, dict) and isinstance(form.get("result"), dict):
            form = form["result"]
        return Header.from_json(form)
    except (ValueError, RecursionError):
        reason = "neither a hash nor JSON"
    except BadHeader as error:
        reason = error.message
    raise BadRequest(
        f"{file} names no block: {reason}",
        hint="give a block's hash (0x and 64 digits), or a file with the answer of eth_getBlockByNumber",
    )
