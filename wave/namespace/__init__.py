"""Where: resources and patterns with exact relations, permissions, conditions, the text form of grants, and names."""

from wave.namespace.condition import Condition, rate, when, where
from wave.namespace.grant import BUILT_IN, GrantText, Right, parse_grant, right
from wave.namespace.name import Name
from wave.namespace.pattern import Pattern, covers, intersect, resource

__all__ = [
    "BUILT_IN",
    "Condition",
    "GrantText",
    "Name",
    "Pattern",
    "Right",
    "covers",
    "intersect",
    "parse_grant",
    "rate",
    "resource",
    "right",
    "when",
    "where",
]
