"""What: delegations of trust, the proofs made of them, and the pure verdict over both.

The functions ``verify`` and ``explain`` have modules of their own names, so they are exported one floor up: ``wave``.
"""

from wave.dots.cache import Verifier
from wave.dots.dot import Dot
from wave.dots.explanation import Explanation
from wave.dots.facts import Facts
from wave.dots.proof import Proof
from wave.dots.request import Request, Statement
from wave.dots.verify import Grant

__all__ = ["Dot", "Explanation", "Facts", "Grant", "Proof", "Request", "Statement", "Verifier"]
