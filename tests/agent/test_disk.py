"""A disk that is full or cannot be written: one clear error, and nothing half-written."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.agent.conftest import House
from wave.agent import wire
from wave.agent.engine import Engine
from wave.agent.settings import Settings
from wave.codec import id_text
from wave.errors import StateUnwritable, UnknownObject

NOBODY = 65_534


def test_a_full_disk_keeps_all_objects_of_a_call_or_none(house: House) -> None:
    """Keeping fails as a whole, what was there stays, and the next call works when there is room again."""
    first = house.dot(house.owner, house.guest)
    house.engine.call(wire.Publish(objects=(first.to_bytes(),), keep_only=True))
    database = house.engine._store._database
    (pages,) = database.execute("PRAGMA page_count").fetchone()
    database.execute(f"PRAGMA max_page_count = {pages + 1}")
    many = [house.dot(house.owner, house.guest, where=f"light/{number}") for number in range(60)]
    call = wire.Publish(objects=tuple(dot.to_bytes() for dot in many), keep_only=True)
    with pytest.raises(StateUnwritable) as caught:
        house.engine.call(call)
    assert caught.value.code == "state.unwritable"
    assert house.engine.call(wire.FindObject(id=id_text(first.id))).data == first.to_bytes()
    with pytest.raises(UnknownObject):
        house.engine.call(wire.FindObject(id=id_text(many[0].id)))
    database.execute("PRAGMA max_page_count = 1073741823")
    assert len(house.engine.call(call).objects) == 60


def test_a_state_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    """A file stands where the directory should be."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StateUnwritable):
        Engine.open(Settings(tmp_path / "file" / "home"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not write")
def test_a_read_only_state_directory_is_said(house: House, settings: Settings) -> None:
    """Whoever may read the state and not write it gets one clear error, and the state is as it was."""
    house.engine.close()
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        home = Path(shutil.copytree(settings.home, Path(place) / "home"))
        for path in (home, *home.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        before = {path.name: path.read_bytes() for path in home.rglob("*") if path.is_file()}
        code = (
            "import os, sys; from pathlib import Path\n"
            "from wave.agent.engine import Engine; from wave.agent.settings import Settings\n"
            "from wave.errors import StateUnwritable\n"
            f"os.setgid({NOBODY}); os.setuid({NOBODY})\n"
            "try: Engine.open(Settings(Path(sys.argv[1])), wait=0.0)\n"
            "except StateUnwritable as error: print(error.code)\n"
        )
        ran = subprocess.run(
            [sys.executable, "-c", code, str(home)], capture_output=True, text=True, timeout=30, check=False
        )
        assert ran.stdout.strip() == "state.unwritable", ran.stderr
        assert {path.name: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before
