"""Every example runs, from any directory, and prints what it promises."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
PROMISED = {"library.py": ["the cellar: yes, over 2 DoTs", "[dot.out_of_scope]", "[dot.revoked]"]}
DEVICES = {
    "own_device.py": "Lamp"
}  # run on a real router, as `wave device run` does: devices/test_daemons_end_to_end.py
ELSEWHERE = ("guard/test_guard_examples.py", "heavy/test_examples_heavy.py", "heavy/test_ray_examples.py")
DRIVER = """
class LED:
    def __init__(self, pin): print("pin", pin)
    def on(self): print("on")
    def off(self): print("off")
"""


def test_every_example_is_known_here() -> None:
    """A new example gets its line in this test, or in one of those elsewhere."""
    tests = [Path(__file__).parent / name for name in ELSEWHERE]
    texts = "".join([path.read_text() for path in tests if path.exists()])
    for path in EXAMPLES.glob("*.py"):
        assert path.name in {*PROMISED, *DEVICES} or f'"{path.name}"' in texts, f"no test runs {path.name}"


@pytest.mark.parametrize("name", sorted(PROMISED))
def test_an_example_runs(name: str, tmp_path: Path) -> None:
    """It ends well and says what it should."""
    command = [sys.executable, "-W", "error", str(EXAMPLES / name)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)
    assert ran.returncode == 0, ran.stderr
    assert all(text in ran.stdout for text in PROMISED[name]), ran.stdout


def test_the_lamp_drives_a_real_pin_where_there_is_a_driver(tmp_path: Path) -> None:
    """Wherever gpiozero can be imported, the example takes its LED."""
    (tmp_path / "gpiozero.py").write_text(DRIVER)
    lamp = f"{EXAMPLES / 'own_device.py'}:Lamp"
    program = (
        "from devices.machine import Command; from devices.onoff import STATE_SLOT; from devices.site import machine\n"
        f"lamp = machine({lamp!r})\n"
        "state, did = lamp.handle(lamp.initial(0), Command(STATE_SLOT, 'toggle', 0))\n"
        "lamp.act(state); print(did, lamp.report(state)); lamp.act(False)"
    )
    environment = {"PYTHONPATH": f"{tmp_path}:{EXAMPLES.parent}", "LAMP_PIN": "4"}
    ran = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert ran.stdout.splitlines() == ["pin 4", "on", "on {'i.boolean/signal/state': {'state': 'on'}}", "off"], (
        ran.stderr
    )
