"""The notebook about pong: right with its solutions, and patient without."""

import pytest

from tests.test_notebooks import COMPUTING, answers


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], list[str]]:
    """What its checks say."""
    return answers(COMPUTING, tmp_path_factory)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", COMPUTING)
def test_with_the_solutions_every_check_says_yes(name: str, said: dict[tuple[str, str], list[str]]) -> None:
    given = said["solutions", name]
    assert len(given) > 7
    assert [text for text in given if not text.startswith("yes: ")] == []


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", COMPUTING)
def test_unfilled_every_check_says_not_yet(name: str, said: dict[tuple[str, str], list[str]]) -> None:
    """And no cell fails, although its reader has done nothing so far."""
    given = said[".", name]
    assert len(given) > 7
    assert [text for text in given if not text.startswith("not yet: ")] == []
