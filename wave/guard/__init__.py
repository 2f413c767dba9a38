"""Library checks: an endpoint of one's own, guarded in a line. Who asks signs the request and shows a proof."""

from wave.guard.guard import Caller, Guard
from wave.guard.rules import Rule, Rules

__all__ = ["Caller", "Guard", "Rule", "Rules"]
