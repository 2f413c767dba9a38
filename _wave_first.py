"""Lets an installed package ``wave`` be imported although the standard library has a module of that name.

``_wave_first.pth`` imports this file whenever an interpreter starts, so it imports nothing but ``sys`` and leaves all
work to the first ``import wave``. Why and how far: docs/adr/0001-name-wave.md.
"""

import sys

TYPE_CHECKING = False  # typing's constant without the import of typing
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType


class WaveFirst:
    """A finder for the name ``wave`` alone: what ``sys.path`` would answer if the standard library stood last on it."""

    @staticmethod
    def find_spec(
        name: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None, /
    ) -> "ModuleSpec | None":
        """Return the spec of the first ``wave`` on ``sys.path`` outside the standard library, if it is a package."""
        if name != "wave" or path is not None:
            return None
        import os
        from importlib.machinery import PathFinder

        stdlib = os.path.realpath(os.path.dirname(os.__file__))
        entries = [entry for entry in sys.path if not (os.path.isabs(entry) and os.path.realpath(entry) == stdlib)]
        spec = PathFinder.find_spec(name, entries, target)
        if spec is None or spec.origin is None or spec.submodule_search_locations is None:
            return None  # nothing there, or a mere folder "wave", or somebody's own wave.py: Python's order holds
        return spec


sys.meta_path.insert(0, WaveFirst)
