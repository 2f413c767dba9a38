"""Rights, the parts of a DoT that say what is granted, and the text ``[set:]perm[,perm…]@namespace/pattern``."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Final

from wave.codec import Id, Record, between
from wave.errors import BadGrant, Malformed, TooLarge
from wave.limits import LIMITS
from wave.namespace.condition import Condition
from wave.namespace.pattern import Pattern, check_pattern

BUILT_IN: Final = ("publish", "subscribe", "list", "query", "route", "decrypt", "predict", "admin")
"""The permissions of the built-in set, which is written by leaving the set out."""

_PERMISSION = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_.-]{{0,{LIMITS.permission_characters - 1}}}")
_FILE_SUFFIXES: Final = (".ent", ".pub")


class Right(Record, frozen=True):
    """One grant inside a DoT: these permissions of that set, on that pattern, under these conditions.

    ``permission_set`` is an entity's id, or None for the built-in set; permissions stand in ascending order, once each.
    """

    permission_set: Id | None
    permissions: Annotated[tuple[str, ...], between(1, LIMITS.permissions_per_grant)]
    pattern: str
    conditions: Annotated[tuple[Condition, ...], between(0, LIMITS.conditions_per_grant)]


def right(
    permissions: tuple[str, ...] | list[str],
    pattern: str,
    conditions: tuple[Condition, ...] = (),
    permission_set: bytes | None = None,
) -> Right:
    """Return a right in canonical order; :class:`BadGrant` for a permission that its set does not have."""
    for permission in permissions:
        check_permission(permission, permission_set)
    distinct = tuple(sorted(set(permissions)))
    if not distinct:
        raise BadGrant("a grant without a permission")
    if len(distinct) > LIMITS.permissions_per_grant:
        raise TooLarge(f"{len(distinct)} permissions in a grant; at most {LIMITS.permissions_per_grant} are accepted")
    return Right(permission_set, distinct, str(Pattern(pattern)), conditions)


@lru_cache(LIMITS.pattern_cache)
def check_right(right: Right) -> None:
    """Raise :class:`InputError` for a right that :func:`right` never returns."""
    check_pattern(right.pattern)
    before = ""
    for permission in right.permissions:
        if permission <= before:
            raise Malformed("a right whose permissions do not stand in ascending order, once each")
        before = permission


def check_permission(permission: str, permission_set: bytes | None) -> None:
    """Raise :class:`BadGrant` unless ``permission`` is a word, and one of the built-in ones when no set is named."""
    if _PERMISSION.fullmatch(permission) is None:
        raise BadGrant(f"{permission[:80]!r} is not a permission", hint="a permission is a word such as publish")
    if permission_set is None and permission not in BUILT_IN:
        raise BadGrant(
            f"there is no permission {permission!r} in the built-in set",
            hint=f"it has {', '.join(BUILT_IN)}; name your own set as set:{permission}@…",
        )


@dataclass(frozen=True, slots=True)
class GrantText:
    """The parts of a grant as written: references to entities are names, files or ids, not looked up yet."""

    permission_set: str | None
    permissions: tuple[str, ...]
    namespace: str
    pattern: Pattern


def parse_grant(text: str) -> GrantText:
    """Return the parts of ``[set:]perm[,perm…]@namespace/pattern``; :class:`BadGrant`, :class:`BadPattern`.

    A namespace that begins with '/', './' or '../' is a file's path and ends at the first '.ent' or '.pub'.
    """
    what, at, place = text.partition("@")
    permission_set, colon, words = what.rpartition(":")
    if not at or not words or (colon and not permission_set):
        raise BadGrant(f"{text[:80]!r} is not a grant")
    permissions = tuple(words.split(","))
    for permission in permissions:
        if _PERMISSION.fullmatch(permission) is None:
            raise BadGrant(f"{permission[:80]!r} is not a permission", hint="a permission is a word such as publish")
    namespace, pattern = _split_place(place)
    if not namespace or not pattern:
        raise BadGrant(f"{text[:80]!r} names no resource")
    return GrantText(permission_set or None, permissions, namespace, Pattern(pattern))


def _split_place(place: str) -> tuple[str, str]:
    if place.startswith(("/", "./", "../")):
        cells = place.split("/")
        for index, cell in enumerate(cells):
            if cell.endswith(_FILE_SUFFIXES):
                return "/".join(cells[: index + 1]), "/".join(cells[index + 1 :])
        return "", ""
    namespace, _, pattern = place.partition("/")
    return namespace, pattern


def grant_text(permissions: tuple[str, ...], namespace: str, pattern: str, permission_set: str | None = None) -> str:
    """Return a grant as text."""
    return f"{permission_set + ':' if permission_set else ''}{','.join(permissions)}@{namespace}/{pattern}"
