"""WAVE says whether an entity may do something to a resource now, from signatures and a public registry alone.

Names load on first use, so ``import wave`` costs next to nothing. The standard library's audio module of the same name
is still here for whoever wants it: ``wave.open``, ``wave.Wave_read``, ``wave.Error`` (docs/adr/0001-name-wave.md).
"""

import sys

TYPE_CHECKING = False  # typing's constant without the import of typing
if TYPE_CHECKING:
    from types import ModuleType

    from wave.dots.dot import Dot
    from wave.dots.explain import explain
    from wave.dots.facts import Facts
    from wave.dots.proof import Proof
    from wave.dots.request import Request, Statement
    from wave.dots.verify import Grant, verify
    from wave.entities.entity import Entity, EntitySecret
    from wave.errors import InputError, NotFound, Refused, Unavailable, WaveError
    from wave.namespace.pattern import Pattern

__version__ = "0.1.0"

__all__ = [
    "Dot",
    "Entity",
    "EntitySecret",
    "Facts",
    "Grant",
    "InputError",
    "NotFound",
    "Pattern",
    "Proof",
    "Refused",
    "Request",
    "Statement",
    "Unavailable",
    "WaveError",
    "explain",
    "verify",
]

_HOMES = {
    "Dot": "wave.dots.dot",
    "Entity": "wave.entities.entity",
    "EntitySecret": "wave.entities.entity",
    "Facts": "wave.dots.facts",
    "Grant": "wave.dots.verify",
    "InputError": "wave.errors",
    "NotFound": "wave.errors",
    "Pattern": "wave.namespace.pattern",
    "Proof": "wave.dots.proof",
    "Refused": "wave.errors",
    "Request": "wave.dots.request",
    "Statement": "wave.dots.request",
    "Unavailable": "wave.errors",
    "WaveError": "wave.errors",
    "explain": "wave.dots.explain",
    "verify": "wave.dots.verify",
}

if not TYPE_CHECKING:  # a type checker that saw this function would believe in every misspelt name

    def __getattr__(name: str) -> object:
        """Return an export of WAVE, loaded on first use, or else what the standard library's ``wave`` has."""
        import importlib

        if home := _HOMES.get(name):
            value = getattr(importlib.import_module(home), name)
        elif (name.startswith("__") and name.endswith("__")) or _is_submodule(name) or not hasattr(_audio(), name):
            raise AttributeError(f"module 'wave' has no attribute {name!r}", name=name, obj=sys.modules[__name__])
        else:
            value = getattr(_audio(), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _is_submodule(name: str) -> bool:
    """Say whether ``from wave import name`` means one of our own modules, so that the audio one need not load."""
    from importlib.machinery import PathFinder

    return PathFinder.find_spec(f"{__name__}.{name}", __path__) is not None


def _audio() -> "ModuleType":
    """Return the standard library's ``wave``, loaded under a private key.

    Its ``__name__`` stays ``wave``, so that its pickles name what every other Python process has too.
    """
    loaded = sys.modules.get("_wave_audio")
    if loaded is None:
        import os
        from importlib.machinery import PathFinder
        from importlib.util import module_from_spec

        spec = PathFinder.find_spec("wave", [os.path.dirname(os.__file__)])
        if spec is None or spec.loader is None:
            raise AttributeError("this Python has no audio module 'wave'")
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        loaded = sys.modules.setdefault("_wave_audio", module)  # of two threads, both get the first one's
    return loaded
