"""What a systemd unit is told of this machine: ids for names, whole paths, and which files it has to see."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cli import ui
from cli.session import Session
from wave.entities.keyring import SECRET_SUFFIX
from wave.errors import MissingFile, UnknownEntity

if TYPE_CHECKING:
    from devices.plan import DevicePlan
    from devices.units import Service


def whole_path(text: str) -> Path:
    """Return the absolute path that ``text`` means here, without any '..'."""
    path = Path(text).absolute()
    return path.resolve() if ".." in path.parts else path


def secret_file(session: Session, text: str) -> Path:
    """Return the path of the secret file that ``text`` names here; it need not be there yet."""
    from cli.reference import is_file

    if is_file(text):
        return whole_path(text)
    path = session.settings.keyring.find(text)
    if path is None or path.suffix != SECRET_SUFFIX:
        raise UnknownEntity(f"there is no secret file for {text!r}", hint="name it: --from FILE.ent")
    return path.absolute()


def full(session: Session, text: str) -> str:
    """Return ``NAMESPACE/RESOURCE`` with the namespace as an id."""
    from cli import reference
    from devices.plan import address

    written = address(text)
    return f"{reference.entity(session, written.namespace).text}/{written.resource}"


def own_kind(kind: str) -> str:
    """Return a kind; the file of one's own by its whole path."""
    file, colon, name = kind.rpartition(":")
    return f"{whole_path(file)}:{name}" if colon else kind


def device_files(plan: "DevicePlan") -> list[Path]:
    """Return what a device reads. A feed's file may be replaced, which its directory shows and a bound file hides."""
    own = [Path(plan.kind.rpartition(":")[0])] if ":" in plan.kind else []
    return own if plan.file is None else [*own, plan.file.parent]


def home_files(session: Session, file: Path) -> list[Path]:
    """Return what a home reads: its HOME.toml, and its devices' files; warn of names that the unit does not know."""
    from cli import reference
    from devices.plan import HomePlan
    from wave.codec import parse_id
    from wave.entities.keyring import read_file

    try:
        plan = HomePlan.parse(read_file(file).decode("utf-8", "replace"), base=file.parent)
    except MissingFile:
        ui.warn(f"there is no {file} yet", "write ids in it for homes other than its own: the unit knows no names")
        return [file]
    places = [place for one in plan.controllers for place in (one.target, *(source for _, source in one.sources))]
    for named in sorted({one.namespace for one in places} - {plan.namespace}):
        if parse_id(named) is None:
            found = reference.entity(session, named).text
            ui.warn(f"{file} says {named}, which the unit does not know", f"write {found} there")
    return [file, *[whole_path(str(one)) for device in plan.devices for one in device_files(device)]]


def program_files(program: tuple[str, ...]) -> list[Path]:
    """Return where this program, its interpreter and what it imports stand."""
    import cli
    import devices
    import wave

    interpreter = (Path(sys.prefix), Path(sys.base_prefix), Path(sys.base_prefix).resolve())
    packages = [Path(file).parents[1] for one in (cli, devices, wave) if (file := one.__file__) is not None]
    return [Path(program[0]), *interpreter, *packages]


def warn_of(unit: "Service") -> None:
    """Tell of what the unit reads in places that are hidden from it, or do not last."""
    from devices.units import USER

    for path in unit.bound:
        ui.warn(
            f"the unit would not see {path}, so that it is bound in; the user {USER} must be able to read it",
            "better install WAVE system-wide, such as in /opt/wave, and keep its files in /etc/wave",
        )
    for path in unit.fleeting:
        ui.warn(f"{path} is a temporary file: it may be gone when the machine starts again", "keep it in /etc/wave")
