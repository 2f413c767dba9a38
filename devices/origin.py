"""Origins, as browsers write them: which page asks, and which service it may ask."""

import re
from typing import Final

from wave.errors import BadSetting

_ORIGIN: Final = re.compile(
    r"https?://(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?::[1-9][0-9]{0,4})?", re.ASCII
)


def check_origin(text: str) -> str:
    """Return the origin in ``text``: http(s)://HOST[:PORT], in lower case and without the scheme's own port.

    :class:`BadSetting` for anything else, ``*`` and ``null`` included.
    """
    origin = text.lower().removesuffix("/")
    origin = origin.removesuffix(":443" if origin.startswith("https:") else ":80")
    if _ORIGIN.fullmatch(origin) is None:
        raise BadSetting(f"{text[:80]!r} is not http(s)://HOST[:PORT]", hint="write it as https://home.example")
    return origin
