"""graph: the same edges as text, JSON, Graphviz and SVG."""

import xml.etree.ElementTree as ET

import pytest

from tests.cli.conftest import Shell, identity

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def garden(wave: Shell) -> str:
    """A namespace with a revoked edge, a circle, a giver that holds nothing, and a hostile name."""
    name = f"garden{abs(hash(wave.directory))}"
    wave.done("mkentity", "-o", f"{name}.ent", "--no-passphrase")
    wave.done("grant", "--from", f"{name}.ent", "--to", "alice", "--indirections", "3", f"publish@{name}/a/*")
    wave.done("grant", "--from", "alice.ent", "--to", "bob", "--indirections", "2", f"publish@{name}/a/b")
    wave.done("grant", "--from", "bob.ent", "--to", "alice", f"publish@{name}/a/b")
    wave.done("grant", "--from", "carol.ent", "--to", "bob", "--comment", "<script>\x1b[2J", f"list@{name}/x")
    wave.done("grant", "--from", f"{name}.ent", "--to", "bob", "--where", "t ..5", "-o", "r.dot", f"admin@{name}/+")
    wave.done("revoke", "--from", f"{name}.ent", "--dot", "r.dot")
    return name


def test_the_tree_shows_each_edge_once(wave: Shell, garden: str) -> None:
    lines = wave.done("graph", "--all", garden).out.splitlines()
    assert lines[0] == f"{garden}  {identity(wave, garden)}"
    assert lines[1].startswith("├─ alice  publish@a/*  until ")
    assert lines[1].endswith(", 3 hops")
    assert lines[2].startswith("│  └─ bob  publish@a/b  until ")
    assert lines[3].startswith("│     └─ alice  publish@a/b  until ")
    assert lines[3].endswith("(see above)")
    assert lines[4] == "└─ bob  admin@+, where t ..5  revoked  (see above)"
    assert lines[5].endswith(f"not reached from {garden}")
    assert lines[6].startswith("└─ bob  list@x")
    assert len(lines) == 7


def test_what_does_not_count_now_is_left_out_and_said(wave: Shell, garden: str) -> None:
    """Revoked edges go, and with them whatever they alone led to."""
    ran = wave.done("graph", garden)
    assert len(ran.out.splitlines()) == 4
    assert "revoked" not in ran.out
    assert "not reached" not in ran.out
    assert "2 more are revoked" in ran.err
    assert {edge["state"] for edge in wave.done("graph", garden, "--json").json["edges"]} == {"valid"}


def test_the_json_is_the_agents_answer(wave: Shell, garden: str) -> None:
    found = wave.done("graph", "--all", garden, "--format", "json").json
    assert found == wave.done("graph", "--all", garden, "--json").json
    assert sorted(edge["state"] for edge in found["edges"]) == ["revoked", "valid", "valid", "valid", "valid"]


def test_the_graphviz_file_quotes_what_is_foreign(wave: Shell, garden: str) -> None:
    ran = wave.done("graph", "--all", garden, "--format", "dot")
    assert ran.out.startswith("digraph wave {")
    assert ran.out.rstrip().endswith("}")
    assert ran.out.count(" -> ") == 5
    assert "style=dashed" in ran.out


def test_the_drawing_is_whole_and_needs_nothing_else(wave: Shell, garden: str) -> None:
    wave.done("graph", "--all", garden, "-o", "g.svg")
    text = (wave.directory / "g.svg").read_text()
    root = ET.fromstring(text)
    assert root.tag == f"{SVG}svg"
    assert root.findtext(f"{SVG}title") == f"Who holds what in {garden}"
    groups = [group.get("class") for group in root.iter(f"{SVG}g")]
    assert groups.count("valid") == 4 + 1  # and once in the legend
    assert groups.count("dead") == 1 + 1
    assert "publish@a/*" in [one.text for one in root.iter(f"{SVG}text")]
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "\x1b" not in text
    assert "<script>" not in text


def test_boxes_and_labels_of_a_drawing_do_not_overlap(wave: Shell, garden: str) -> None:
    wave.done("graph", "--all", garden, "-o", "g.svg")
    root = ET.fromstring((wave.directory / "g.svg").read_text())
    places = [
        tuple(float(rect.get(side, "nan")) for side in ("x", "y", "width", "height"))
        for rect in root.iter(f"{SVG}rect")
        if rect.get("class")
    ]
    assert len(places) == 5 + 4
    for number, (x, y, width, height) in enumerate(places):
        assert x >= 0
        assert x + width <= float(root.get("width", "nan"))
        for left, top, wide, high in places[:number]:
            assert x >= left + wide or left >= x + width or y >= top + high or top >= y + height


def test_a_drawing_with_json_says_what_was_written(wave: Shell, garden: str) -> None:
    ran = wave.done("graph", "--all", garden, "-o", "g.svg", "--json")
    assert ran.json == {"file": "g.svg", "format": "svg", "entities": 4, "dots": 5}
    assert (wave.directory / "g.svg").read_text().startswith("<svg")


def test_an_output_never_goes_over_a_key(wave: Shell, garden: str) -> None:
    before = (wave.directory / "alice.ent").read_bytes()
    assert wave("graph", garden, "-o", "alice.ent").status == 3
    assert (wave.directory / "alice.ent").read_bytes() == before


def test_a_namespace_in_which_nobody_holds_anything(wave: Shell) -> None:
    assert "nobody holds anything here" in wave.done("graph", "bob").out
    wave.done("graph", "bob", "--format", "svg")


def test_a_files_name_that_says_no_format_is_asked_about(wave: Shell) -> None:
    """Nothing is written into a file whose ending means something else."""
    ran = wave("graph", "home", "-o", "home.pdf")
    assert ran.status == 3
    assert "--format" in ran.err
    assert "home.pdf" not in wave.files()
    wave.done("graph", "home", "-o", "home.pdf", "--format", "svg")
