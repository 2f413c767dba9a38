"""The ``wave`` command: parse, one call, print. Nothing here decides anything."""
