"""What the user wrote, looked up: entities by id, file, local name, alias or ``label.giver``; grants, secrets."""

import difflib
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from cli import ui
from cli.session import Session
from wave.codec import id_text, parse_id
from wave.entities.entity import EVERYBODY, Entity, EntitySecret
from wave.entities.keyring import PUBLIC_SUFFIX, SECRET_SUFFIX, read_entity, read_file, read_secret, write_file
from wave.entities.object import SignedObject, decode_object, from_text
from wave.errors import (
    AlreadyExists,
    BadArmour,
    BadGrant,
    BadName,
    BadPassphrase,
    BadRequest,
    InputError,
    MissingFile,
    NotFound,
    TooLarge,
    UnknownEntity,
    WaveError,
    WrongKind,
)
from wave.limits import LIMITS
from wave.namespace.grant import GrantText, parse_grant

if TYPE_CHECKING:
    from wave.agent.wire import Wanted
    from wave.dots.proof import Proof

SUFFIXES: Final = (SECRET_SUFFIX, PUBLIC_SUFFIX)
STDIN: Final = "-"
_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?")
_SHORT: Final = 8
_SHORT_ID = re.compile(rf"(?<![\w-])[\w-]{{{_SHORT}}}(?![\w-])", re.ASCII)
_MANY: Final = 6


class Found(NamedTuple):
    """An entity that was looked up: its id, how it was named, and its record when a file here holds it."""

    id: bytes
    by: str
    record: Entity | None = None

    @property
    def text(self) -> str:
        """The id as text."""
        return id_text(self.id)


# Entities ----------------------------------------------------------------------------------------------------------


def entity(session: Session, text: str) -> Found:
    """Return the entity that ``text`` stands for; :class:`NotFound` with the names that are near, :class:`BadName`."""
    found = _here(session, text)
    if found is not None:
        return found
    from wave.agent.wire import Resolve, identity

    label, dot, giver = text.partition(".")
    root = _here(session, giver) if dot else None
    try:
        reply = session.call(Resolve(name=text if root is None else f"{label}.{root.text}"))
    except NotFound as error:
        if dot:
            raise
        raise type(error)(error.message, hint=_near(session, text) or error.hint, decision=error.decision) from None
    return Found(identity(reply.id), reply.by, None)


def receiver(session: Session, text: str) -> Found:
    """Return the entity that ``text`` stands for, which may be everybody."""
    return Found(EVERYBODY, "everybody") if text == "everybody" else entity(session, text)


def _here(session: Session, text: str) -> Found | None:
    """Return the entity when an id, a file or a local name says which, without asking the agent."""
    identity = parse_id(text)
    if identity is not None:
        return Found(identity, "id")
    if not text:
        raise BadName("an empty name", hint="name an entity: an id, a file, a local name, an alias or label.giver")
    if is_file(text):
        return _from_file(session, Path(text), "file")
    path = session.settings.keyring.find(text)
    return None if path is None else _from_file(session, path, "local name")


def _from_file(session: Session, path: Path, by: str) -> Found:
    try:
        record = read_entity(path)
    except MissingFile as error:
        raise MissingFile(error.message, hint=_near(session, str(path))) from None
    return Found(record.id, by, record)


def is_file(text: str) -> bool:
    """Tell whether ``text`` names a file rather than an entity's name."""
    return text.endswith(SUFFIXES) or os.sep in text


def _near(session: Session, text: str) -> str:
    """Return a hint that says which names are near ``text``, or which there are."""
    names: set[str] = set()
    for suffix in SUFFIXES:
        names.update(path.name for path in Path().glob(f"*{suffix}"))
    if not text.endswith(SUFFIXES):
        names.update(Names(session).by_id.values())
    names -= {text}
    longer = sorted(name for name in names if text and name.startswith(text))
    if near := longer[:3] or difflib.get_close_matches(text, names, n=3):
        return f"did you mean {' or '.join(near)}?"
    if not names:
        return ""
    shown = sorted(names)[:_MANY]
    return f"there are {', '.join(shown)}" + (f" and {len(names) - _MANY} more" if len(names) > _MANY else "")


class Names:
    """What entities are called here: by this home's own names, and by the names that the agent knows."""

    def __init__(self, session: Session) -> None:
        """Ask the agent; when it cannot be asked, local names do."""
        from wave.agent.wire import Names as AskNames

        try:
            self.by_id = dict(session.call(AskNames()).names)
        except WaveError:
            self.by_id = {}
        self.by_id.update(_local_names(session))
        self.by_id[id_text(EVERYBODY)] = "everybody"

    def name(self, identity: bytes | str) -> str:
        """Return the name of an entity, or the first characters of its id."""
        text = identity if isinstance(identity, str) else id_text(identity)
        return self.by_id.get(text) or text[:_SHORT]

    def told(self, text: str) -> str:
        """Return ``text`` with its name before each shortened id that stands by itself."""
        known = {identity[:_SHORT]: name for identity, name in self.by_id.items() if set(identity) != {"A"}}
        return _SHORT_ID.sub(lambda found: f"{known[found[0]]} ({found[0]})" if found[0] in known else found[0], text)

    def full(self, identity: bytes | str) -> str:
        """Return name and id, or the id of an entity without a name."""
        text = identity if isinstance(identity, str) else id_text(identity)
        name = self.by_id.get(text)
        return name if name == "everybody" else f"{name} ({text})" if name else text


def _local_names(session: Session) -> Iterator[tuple[str, str]]:
    """Yield id and name for each file in the keyring that can be read; a bad one is no reason to say nothing."""
    directory = session.settings.keyring.directory
    for path in sorted(directory.iterdir()) if directory.is_dir() else ():
        if path.suffix in SUFFIXES:
            try:
                yield id_text(read_entity(path).id), path.stem
            except WaveError:
                continue


def introduce(session: Session, *people: Found) -> None:
    """Tell the agent the records of entities that were named by a file, so that it can check what they sign."""
    from wave.agent.wire import FindObject, Publish

    unknown = []
    for one in dict.fromkeys(one for one in people if one.record is not None):
        try:
            session.call(FindObject(id=one.text))
        except NotFound:
            unknown.append(one.record.to_bytes() if one.record is not None else b"")
    if unknown:
        session.call(Publish(objects=tuple(unknown), keep_only=True))


def is_own_chain(session: Session) -> bool:
    """Tell whether the agent's chain is one's own, so that things may be published that nobody asked to publish."""
    from wave.agent.wire import Status

    return session.call(Status()).own


def is_published(session: Session, identity: bytes) -> bool:
    """Tell whether an entity's record stands on the chain; what it signs can be checked by others only then."""
    from wave.agent.wire import FindObject

    try:
        return session.call(FindObject(id=id_text(identity))).height is not None
    except NotFound:
        return False


# Secrets -----------------------------------------------------------------------------------------------------------


def secret(session: Session, text: str | None, passphrase_file: str | None) -> EntitySecret:
    """Return the secret of the entity named, or of ``WAVE_ENTITY``; asks for its passphrase if it has one."""
    name = text or session.settings.entity
    if name is None:
        raise BadRequest("who signs is not said", hint="name a secret file with --from, or set WAVE_ENTITY")
    path = Path(name) if is_file(name) else session.settings.keyring.find(name)
    if path is not None and path.suffix != PUBLIC_SUFFIX:
        try:
            return read_secret(path, lambda: passphrase(passphrase_file, str(path)))
        except MissingFile as error:
            raise MissingFile(error.message, hint=_near(session, name)) from None
    beside = Path(f"{Path(name).stem}{SECRET_SUFFIX}")
    raise UnknownEntity(
        f"there is no secret file for {name!r}" + (", only the public part" if path is not None else ""),
        hint=f"name it: --from {beside if beside.is_file() else 'FILE.ent'}",
    )


def subject(session: Session, text: str | None) -> Found:
    """Return the entity that is asked about: the one named, or ``WAVE_ENTITY``."""
    name = text or session.settings.entity
    if name is None:
        raise BadRequest("whose rights is not said", hint="name an entity with --subject, or set WAVE_ENTITY")
    return entity(session, name)


def passphrase(file: str | None, what: str) -> str:
    """Return the passphrase in the first line of a file (``-``: standard input), or the one that a person types."""
    if file is None:
        return ui.ask_passphrase(what)
    try:
        data = sys.stdin.buffer.readline(LIMITS.request_bytes) if file == STDIN else read_file(Path(file))
        text = data.decode("utf-8")
    except MissingFile as error:
        raise BadPassphrase(error.message, hint="--passphrase-file names a file whose first line it is") from None
    except UnicodeDecodeError:
        raise BadPassphrase("the passphrase is not UTF-8 text") from None
    return text.partition("\n")[0].removesuffix("\r")


# Grants ------------------------------------------------------------------------------------------------------------


class Sought(NamedTuple):
    """Grants as written, of one namespace, each with the permission set that it names."""

    namespace: Found
    grants: tuple[tuple[GrantText, Found | None], ...]

    @property
    def wanted(self) -> "tuple[Wanted, ...]":
        """One thing wanted for each permission, as the agent is asked."""
        from wave.agent.wire import Wanted

        return tuple(
            Wanted(permission=word, pattern=str(grant.pattern), permission_set=None if kind is None else kind.text)
            for grant, kind in self.grants
            for word in grant.permissions
        )


def grants(session: Session, texts: Iterable[str]) -> Sought:
    """Return what ``[set:]perm[,perm…]@namespace/pattern`` texts mean; :class:`BadGrant` unless of one namespace."""
    parsed = [parse_grant(text) for text in texts]
    if not parsed:
        raise BadGrant("nothing is asked for")
    places = {name: entity(session, name) for name in dict.fromkeys(one.namespace for one in parsed)}
    if len({place.id for place in places.values()}) > 1:
        raise BadGrant(f"these are {len(places)} namespaces: {', '.join(places)}", hint="use one command for each")
    return Sought(
        places[parsed[0].namespace],
        tuple((one, entity(session, one.permission_set) if one.permission_set else None) for one in parsed),
    )


def values(texts: Iterable[str]) -> dict[str, int | float]:
    """Return the named numbers in ``name=number`` texts; :class:`BadRequest`."""
    found: dict[str, int | float] = {}
    for text in texts:
        name, _, number = text.partition("=")
        if not name or _NUMBER.fullmatch(number) is None:
            raise BadRequest(f"{text[:80]!r} is not a value", hint="write it as name=number, such as set_point=70")
        found[name] = float(number) if "." in number else int(number)
    return found


# Files -------------------------------------------------------------------------------------------------------------


def from_stdin() -> bytes:
    """Return what standard input holds; :class:`TooLarge` when that is more than anything WAVE takes."""
    data = sys.stdin.buffer.read(LIMITS.request_bytes + 1)
    if len(data) > LIMITS.request_bytes:
        told = f"standard input holds more than {LIMITS.request_bytes} bytes"
        raise TooLarge(told, hint="is it the right file? share what is larger in parts, or where it is found")
    return data


def read_any(file: str) -> str:
    """Return the text of a file, or of standard input for ``-``; :class:`MissingFile`, :class:`BadArmour`."""
    data = from_stdin() if file == STDIN else read_file(Path(file))
    try:
        return data.decode("ascii")
    except UnicodeDecodeError:
        name = "standard input" if file == STDIN else file
        raise BadArmour(f"{name} is not what WAVE writes", hint="name a .ent, .pub, .dot or .proof file") from None


def proof_file(file: str) -> "tuple[Proof, str | None]":
    """Return the proof in a file, and the text of its staple if one stands behind it; :class:`WrongKind`."""
    from wave.dots.proof import Proof

    text = read_any(file)
    staple: str | None = None
    if "-----BEGIN WAVE STAPLE-----" in text:
        from wave.chain.staple import take_apart

        text, staple = take_apart(text)
    try:
        return Proof.from_text(text), staple
    except WrongKind as error:
        hint = error.hint or "'wave prove -o FILE.proof' makes a proof; 'wave inspect' says what a file is"
        raise WrongKind(error.message, hint=hint) from None


def signed_object(session: Session, text: str) -> SignedObject:
    """Return the object that a file or an id stands for; :class:`NotFound`."""
    identity = parse_id(text)
    if identity is None:
        return from_text(read_any(text))
    from wave.agent.wire import FindObject

    return decode_object(session.call(FindObject(id=text)).data)


def check_free(file: str | None, *, over: str = "") -> None:
    """Raise :class:`AlreadyExists` when ``file`` may not be written: it is there and holds no armour of ``over``."""
    if file is None or not os.path.lexists(file):
        return
    try:
        replaceable = bool(over) and read_any(file).startswith(f"-----BEGIN WAVE {over}-----\n")
    except InputError:
        replaceable = False
    if not replaceable:
        raise AlreadyExists(f"{file} exists already", hint="choose another name; nothing was overwritten")


def write_text(file: str, text: str, *, over: str = "") -> None:
    """Write a file whole or not at all, over another only when that one holds armour of kind ``over``."""
    check_free(file, over=over)
    write_file(Path(file), text.encode("utf-8"), replace=bool(over))
