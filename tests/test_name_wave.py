"""The installed package answers to ``wave`` from everywhere, and the audio module of that name still works.

Each installation is a real one: a fresh venv outside the checkout, commands run from ``/``. The dependencies are lent
to it as one more folder on ``sys.path``, in which Python reads no .pth files, so nothing of this environment's WAVE
leaks in.
"""

import os
import pickle
import subprocess
import sys
import sysconfig
import threading
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

import wave

ROOT = Path(__file__).parent.parent

AUDIO_ROUND_TRIP = """
import io, wave
sound = io.BytesIO()
with wave.open(sound, "wb") as out:
    out.setnchannels(1); out.setsampwidth(2); out.setframerate(8000)
    out.writeframes(bytes(range(200)))
with wave.open(io.BytesIO(sound.getvalue()), "rb") as back:
    assert isinstance(back, wave.Wave_read)
    assert back.getparams()[:4] == (1, 2, 8000, 100)
    assert back.readframes(100) == bytes(range(200))
try:
    wave.open(io.BytesIO(b"no sound"), "rb")
except (wave.Error, EOFError):
    print("audio")
"""


@dataclass(frozen=True)
class Installation:
    folder: Path

    def run(self, command: str, *arguments: str, cwd: str | Path = "/") -> str:
        """Return what the command printed; it must succeed and keep silent on stderr."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        ran = subprocess.run(
            [self.folder / "bin" / command, *arguments],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout + ran.stderr
        return ran.stdout.strip()

    def python(self, code: str, *options: str, cwd: str | Path = "/") -> str:
        return self.run("python", *options, "-c", code, cwd=cwd)

    def pip(self, *arguments: str) -> None:
        pip = [sys.executable, "-m", "pip", "--python", str(self.folder / "bin" / "python"), "--quiet"]
        subprocess.run([*pip, "--disable-pip-version-check", *arguments], cwd="/", check=True, capture_output=True)


def fresh(folder: Path) -> Installation:
    venv.create(folder, symlinks=True)
    made = Installation(folder)
    packages = Path(made.python("import sysconfig; print(sysconfig.get_path('purelib'))"))
    lent = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    (packages / "lent.pth").write_text("\n".join(lent) + "\n")
    assert made.python("import wave; print(hasattr(wave, 'Entity'))") == "False"  # nothing leaks in
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, cwd=folder, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module", params=["wheel", "editable"])
def installed(request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    made = fresh(tmp_path_factory.mktemp(request.param) / "venv")
    what = [str(wheel)] if request.param == "wheel" else ["--no-build-isolation", "--editable", str(ROOT)]
    made.pip("install", "--no-deps", "--no-index", *what)
    return made


def test_the_wheel_carries_every_data_file(wheel: Path) -> None:
    carried = set(zipfile.ZipFile(wheel).namelist())
    data = {path for path in (ROOT / "wave").rglob("*") if path.suffix in {".json", ".vy", ".typed"}}
    assert data
    assert {path.relative_to(ROOT).as_posix() for path in data} <= carried
    assert {"_wave_first.py", "_wave_first.pth"} <= carried


def test_the_console_script_runs_from_anywhere(installed: Installation) -> None:
    assert wave.__version__ in installed.run("wave", "--version")


def test_import_wave_gives_the_package(installed: Installation) -> None:
    printed = installed.python(
        "import wave, _wave_first; print(wave.Entity.__name__, wave.__name__, _wave_first.__file__)"
    )
    *names, finder = printed.split()
    assert names == ["Entity", "wave"]
    assert Path(finder).is_relative_to(installed.folder)  # its own finder, not the one of this environment


def test_isolated_mode_gives_the_package_too(installed: Installation) -> None:
    assert installed.python("import wave; print(wave.Entity.__name__)", "-I") == "Entity"


def test_audio_files_still_work(installed: Installation) -> None:
    assert installed.python(AUDIO_ROUND_TRIP, "-W", "error") == "audio"


def test_without_site_packages_python_is_as_it_was(installed: Installation) -> None:
    assert installed.python(AUDIO_ROUND_TRIP, "-S") == "audio"
    assert installed.python("import wave; print(hasattr(wave, 'Entity'))", "-S") == "False"


def test_resources_are_found(installed: Installation) -> None:
    code = "from importlib.resources import files; print(files('wave').joinpath('py.typed').is_file())"
    assert installed.python(code) == "True"


def test_a_spawned_child_finds_the_package(installed: Installation, tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import multiprocessing, wave\n"
        "def child(queue):\n"
        "    queue.put(wave.Entity.__name__)\n"
        "if __name__ == '__main__':\n"
        "    spawn = multiprocessing.get_context('spawn')\n"
        "    queue = spawn.Queue()\n"
        "    process = spawn.Process(target=child, args=(queue,))\n"
        "    process.start(); print(queue.get(timeout=20)); process.join()\n"
    )
    assert installed.run("python", str(script)) == "Entity"


def test_a_folder_of_sounds_does_not_hide_the_package(installed: Installation, tmp_path: Path) -> None:
    (tmp_path / "wave").mkdir()
    assert installed.python("import wave; print(wave.Entity.__name__)", cwd=tmp_path) == "Entity"


def test_a_module_of_ones_own_still_comes_first(installed: Installation, tmp_path: Path) -> None:
    (tmp_path / "wave.py").write_text("mine = 'mine'\n")
    (tmp_path / "script.py").write_text("import wave; print(wave.mine)\n")
    assert installed.run("python", str(tmp_path / "script.py")) == "mine"


def test_the_start_of_an_interpreter_loads_one_small_module_more(installed: Installation) -> None:
    modules = "import sys; print(*sys.modules)"
    loaded = set(installed.python(modules).split())
    (finder,) = Path(installed.python("import sysconfig; print(sysconfig.get_path('purelib'))")).glob("_wave_first.pth")
    finder.rename(finder.with_suffix(".off"))
    try:
        before = set(installed.python(modules).split())
    finally:
        finder.with_suffix(".off").rename(finder)
    assert loaded - before == {"_wave_first"}


def test_import_wave_loads_nothing_else(installed: Installation) -> None:
    code = "import sys; before = set(sys.modules); import wave; print(*(set(sys.modules) - before))"
    assert {name for name in installed.python(code).split() if not name.startswith(("importlib", "warnings"))} == {
        "wave"
    }


def test_after_uninstalling_python_is_as_it_was(wheel: Path, tmp_path: Path) -> None:
    made = fresh(tmp_path / "venv")
    made.pip("install", "--no-deps", "--no-index", str(wheel))
    made.pip("uninstall", "--yes", "wave-auth")
    assert made.python(AUDIO_ROUND_TRIP) == "audio"
    assert made.python("import wave; print(hasattr(wave, 'Entity'))") == "False"


@pytest.mark.parametrize("name", wave.__all__)
def test_every_export_is_there(name: str) -> None:
    value = getattr(wave, name)
    assert value.__name__ == name
    assert name in dir(wave)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'wave' has no attribute 'Wave_right'"):
        wave.Wave_right  # type: ignore[attr-defined] # noqa: B018
    with pytest.raises(ImportError, match="Wave_right"):
        from wave import Wave_right  # type: ignore[attr-defined] # noqa: F401


def test_audio_objects_pickle_under_the_name_that_every_python_knows() -> None:
    parameters = wave._wave_params(1, 2, 8000, 0, "NONE", "not compressed")  # type: ignore[attr-defined]
    pickled = pickle.dumps(parameters)
    assert b"_wave_audio" not in pickled
    assert pickle.loads(pickled) == parameters


def test_threads_that_race_for_the_audio_module_get_the_same_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "_wave_audio", raising=False)
    seen: list[object] = []
    barrier = threading.Barrier(8)

    def ask() -> None:
        barrier.wait()
        seen.append(wave._audio())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, seen))) == 1
