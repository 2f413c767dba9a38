"""Requests: who wants to do what to which resources, and the values that conditions ask about."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from wave.errors import TooLarge
from wave.limits import LIMITS
from wave.namespace.condition import Number
from wave.namespace.grant import check_permission
from wave.namespace.pattern import Pattern


@dataclass(frozen=True, slots=True)
class Statement:
    """One thing wanted: a permission of a set (None: the built-in one) on all that a pattern matches."""

    permission: str
    pattern: Pattern
    permission_set: bytes | None = None

    def __post_init__(self) -> None:
        """Check the permission and the pattern; :class:`InputError`."""
        check_permission(self.permission, self.permission_set)
        if not isinstance(self.pattern, Pattern):
            object.__setattr__(self, "pattern", Pattern(self.pattern))

    def __str__(self) -> str:
        """Return permission and pattern as a person would say them."""
        return f"{self.permission} on {self.pattern}"


@dataclass(frozen=True, slots=True)
class Request:
    """What ``subject`` asks to do in ``namespace`` (ids, 32 bytes each), with named values for conditions."""

    subject: bytes
    namespace: bytes
    statements: tuple[Statement, ...]
    context: Mapping[str, Number] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        """Check the bounds; :class:`TooLarge`."""
        if not 1 <= len(self.statements) <= LIMITS.statements_per_request:
            most = LIMITS.statements_per_request
            raise TooLarge(f"a request of {len(self.statements)} statements; 1 to {most} are accepted")
        if len(self.context) > LIMITS.context_values:
            raise TooLarge(f"a request with {len(self.context)} values; at most {LIMITS.context_values} are accepted")


def statements(
    permissions: tuple[str, ...], pattern: str, permission_set: bytes | None = None
) -> tuple[Statement, ...]:
    """Return one statement for each permission, all about the same pattern."""
    wanted = Pattern(pattern)
    return tuple(Statement(permission, wanted, permission_set) for permission in permissions)
