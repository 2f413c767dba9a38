"""A device of one's own: a class in a file of its owner, loaded by name."""

import importlib.util
from pathlib import Path
from typing import Any

from devices.machine import Machine
from wave.errors import BadSetting


def own_kind(named: str) -> type[Machine[Any]]:
    """Return the class of machines that ``FILE.py:CLASS`` names; :class:`BadSetting` when there is none.

    The file is a program and is run as one: name only what you would start yourself.
    """
    file, _, wanted = named.rpartition(":")
    path = Path(file)
    if path.suffix != ".py" or not path.is_file():
        raise BadSetting(f"there is no program {file[:80]!r}", hint="write a machine of one's own as FILE.py:CLASS")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # noqa: BLE001 - somebody else's program
        raise BadSetting(f"{file} cannot be run: {type(error).__name__}: {error}") from None
    found = getattr(module, wanted, None)
    if not (isinstance(found, type) and issubclass(found, Machine)):
        raise BadSetting(f"{file} has no machine {wanted[:40]!r}", hint="it is a class that extends Machine")
    return found
