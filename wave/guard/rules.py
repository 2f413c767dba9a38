"""Rules: which permission on which resource a request needs. What no rule maps is refused."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple
from urllib.parse import unquote

from wave.errors import BadPattern, BadSetting, NotMapped, WaveError
from wave.limits import LIMITS
from wave.namespace.grant import check_permission
from wave.namespace.pattern import Pattern, resource

_PLACE = re.compile(r"\{([a-z_]+)\}")
_PLACES_AND_CELLS = re.compile(r"(?:\{[a-z_]+\}|[^{}/?#%]+)")
_ENCODED = re.compile(r"%(?![0-9A-Fa-f]{2})|%2[Ff]|%5[Cc]|%00")
ANY_METHOD: Final = "*"


@dataclass(frozen=True, slots=True)
class Rule:
    """Requests with ``method`` to ``path`` need ``permission`` (of a set; None: the built-in one) on ``resource``.

    ``path`` is absolute; a segment ``{name}`` stands for exactly one segment, and in ``resource`` for the same text.
    ``method`` is one method in capitals, or ``*``.
    """

    method: str
    path: str
    permission: str
    resource: str
    permission_set: bytes | None = None

    def __post_init__(self) -> None:
        """Check that the rule can be kept; :class:`BadSetting`."""
        named = _PLACE.findall(self.path)
        segments = self.path.split("/")
        if segments[0] or not all(_PLACES_AND_CELLS.fullmatch(one) or not one for one in segments[1:]):
            raise BadSetting(f"{self.path[:80]!r} is no path of a rule", hint="write it as /models/{model}/infer")
        if len(set(named)) != len(named) or not set(_PLACE.findall(self.resource)) <= set(named):
            raise BadSetting(f"the rule for {self.path} names a segment twice, or one that its path does not have")
        try:
            check_permission(self.permission, self.permission_set)
            resource(_PLACE.sub("x", self.resource))
        except WaveError as error:
            raise BadSetting(f"the rule for {self.path}: {error.message}", hint=error.hint) from None


class Wanted(NamedTuple):
    """What a request needs: a permission (of a set) on one resource."""

    permission: str
    resource: Pattern
    permission_set: bytes | None


class Rules:
    """Rules in order; the first whose method and path fit decides."""

    def __init__(self, rules: Sequence[Rule], *, public: Sequence[tuple[str, str]] = ()) -> None:
        """Keep ``rules``. ``public`` are methods and whole paths (as sent) that anybody may ask: ``GET /healthz``."""
        self.rules = tuple(rules)
        self.public = frozenset(public)
        self._known: dict[tuple[str, str], Wanted] = {}
        self._by_length: dict[int, list[tuple[Rule, tuple[str | None, ...]]]] = {}
        for rule in self.rules:
            segments = tuple([None if _PLACE.fullmatch(one) else one for one in rule.path.split("/")[1:]])
            self._by_length.setdefault(len(segments), []).append((rule, segments))

    def wanted(self, method: str, path: str) -> Wanted:
        """Return what a request needs; ``path`` is as sent. :class:`NotMapped` when no rule has it.

        A path that servers might read in two ways (empty, '.' or '..' segments, encoded slashes) is mapped by none.
        """
        known = self._known.get((method, path))
        if known is None:
            known = self._find(method, path)
            if len(self._known) >= LIMITS.routes_known:
                self._known.clear()
            self._known[method, path] = known
        return known

    def _find(self, method: str, path: str) -> Wanted:
        given = _segments(path)
        for rule, segments in self._by_length.get(len(given), ()):
            if rule.method in (method, ANY_METHOD) and all(
                wanted in (None, got) for wanted, got in zip(segments, given, strict=True)
            ):
                named = [one for one, wanted in zip(given, segments, strict=True) if wanted is None]
                places = dict(zip(_PLACE.findall(rule.path), named, strict=True))
                return Wanted(rule.permission, _filled(rule.resource, places), rule.permission_set)
        raise NotMapped(f"no rule says what {method[:16]} {path[:80]} needs")


def _segments(path: str) -> list[str]:
    if not path.startswith("/") or _ENCODED.search(path) or "\\" in path:
        raise NotMapped("a path that could be read in two ways")
    try:
        given = [unquote(one, errors="strict") for one in path.split("/")[1:]]
    except UnicodeDecodeError:
        raise NotMapped("a path that is not UTF-8") from None
    if any(one in (".", "..") for one in given) or "" in given[:-1] or (given[-1] == "" and len(given) > 1):
        raise NotMapped("a path that could be read in two ways")
    return given


def _filled(template: str, places: Mapping[str, str]) -> Pattern:
    if any("/" in one for one in places.values()):
        raise NotMapped("a path that could be read in two ways")
    try:
        return resource(_PLACE.sub(lambda found: places[found[1]], template))
    except BadPattern:
        raise NotMapped("a segment of the path cannot be part of a resource") from None
