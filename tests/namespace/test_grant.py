"""Rights and their text form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.world import World, made
from wave.errors import BadGrant, BadPattern, TooLarge
from wave.limits import LIMITS
from wave.namespace.grant import BUILT_IN, GrantText, check_permission, grant_text, parse_grant, right
from wave.namespace.pattern import Pattern

SET = made("a permission set").id


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("publish@home/light0/*", (None, ("publish",), "home", "light0/*")),
        ("publish,list@home/+", (None, ("publish", "list"), "home", "+")),
        ("door:open,close@home/front", ("door", ("open", "close"), "home", "front")),
        ("./door.ent:open@home/front", ("./door.ent", ("open",), "home", "front")),
        ("publish@./home.ent/a/b", (None, ("publish",), "./home.ent", "a/b")),
        ("publish@../keys/home.pub/a.ent/b", (None, ("publish",), "../keys/home.pub", "a.ent/b")),
        ("publish@/etc/wave/home.ent/*", (None, ("publish",), "/etc/wave/home.ent", "*")),
        ("publish@home.ent/a", (None, ("publish",), "home.ent", "a")),
        ("publish@home/a:b", (None, ("publish",), "home", "a:b")),
        ("predict@" + "A" * 43 + "/m", (None, ("predict",), "A" * 43, "m")),
    ],
)
def test_a_grant_s_text_has_its_parts(text: str, expected: tuple[str | None, tuple[str, ...], str, str]) -> None:
    """Set, permissions, namespace and pattern; names, ids and files may stand for entities."""
    permission_set, permissions, namespace, pattern = expected
    assert parse_grant(text) == GrantText(permission_set, permissions, namespace, Pattern(pattern))
    assert grant_text(permissions, namespace, pattern, permission_set) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "publish",
        "publish@",
        "publish@home",
        "publish@home/",
        "@home/a",
        ":publish@home/a",
        "door:@home/a",
        ",@home/a",
        "publish,@home/a",
        "publish,,list@home/a",
        "pub lish@home/a",
        "-x@home/a",
        "é@home/a",
        "a\n@home/a",
        "publish@/a",
        "publish@./a/b",
        "publish@/no/file/here",
        "publish@//a",
        "a" * 65 + "@home/a",
    ],
)
def test_what_is_not_a_grant_s_text_is_refused(text: str) -> None:
    """Nothing is guessed about rights."""
    with pytest.raises(BadGrant) as caught:
        parse_grant(text)
    assert caught.value.code == "grant.bad"
    assert caught.value.hint


@pytest.mark.parametrize("text", ["publish@home/a//b", "publish@home/a*", "publish@home/*/*", "publish@home//a"])
def test_a_grant_on_a_bad_pattern_is_refused_for_its_pattern(text: str) -> None:
    """The error is the pattern's."""
    with pytest.raises(BadPattern) as caught:
        parse_grant(text)
    assert caught.value.code == "pattern.bad"


def test_a_right_stands_in_canonical_order() -> None:
    """Once each and ascending, so that the same right has the same bytes."""
    assert right(["query", "list", "list"], "a") == right(("list", "query"), "a")
    assert right(["query", "list"], "a").permissions == ("list", "query")


@pytest.mark.parametrize("permission", BUILT_IN)
def test_the_built_in_set_has_its_words(permission: str) -> None:
    """Eight of them."""
    check_permission(permission, None)
    assert right((permission,), "a").permission_set is None


@pytest.mark.parametrize("permission", ["open", "Publish", "publish.now"])
def test_a_permission_that_the_built_in_set_lacks_is_refused(permission: str) -> None:
    """It would mean nothing to anybody; another set may have it."""
    with pytest.raises(BadGrant) as caught:
        check_permission(permission, None)
    assert caught.value.code == "grant.bad"
    assert "publish" in caught.value.hint
    assert right((permission,), "a", (), SET).permissions == (permission,)


@pytest.mark.parametrize("permission", ["", "-a", ".a", "a b", "a,b", "a@b", "a:b", "a/b", "\u0061\u0301", "a\n", "*"])
def test_what_is_not_a_word_is_no_permission(permission: str) -> None:
    """In no set."""
    for permission_set in (None, SET):
        with pytest.raises(BadGrant) as caught:
            right((permission,), "a", (), permission_set)
        assert caught.value.code == "grant.bad"


def test_a_permission_has_a_bound_in_characters() -> None:
    """At the bound and one past it."""
    check_permission("a" * LIMITS.permission_characters, SET)
    with pytest.raises(BadGrant) as caught:
        check_permission("a" * (LIMITS.permission_characters + 1), SET)
    assert caught.value.code == "grant.bad"


def test_a_grant_has_a_bound_in_permissions() -> None:
    """At the bound and one past it; repeating one counts once."""
    words = [f"p{number}" for number in range(LIMITS.permissions_per_grant)]
    assert len(right(words * 2, "a", (), SET).permissions) == LIMITS.permissions_per_grant
    with pytest.raises(TooLarge) as caught:
        right([*words, "more"], "a", (), SET)
    assert caught.value.code == "limit.exceeded"


def test_a_grant_without_a_permission_is_refused() -> None:
    """It would grant nothing."""
    with pytest.raises(BadGrant) as caught:
        right((), "a")
    assert caught.value.code == "grant.bad"


def test_a_grant_on_a_bad_pattern_is_not_made() -> None:
    """Checked where it is made."""
    with pytest.raises(BadPattern) as caught:
        right(("publish",), "a//b")
    assert caught.value.code == "pattern.bad"


words = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,8}", fullmatch=True)


@given(
    st.lists(words, min_size=1, max_size=4),
    st.from_regex(r"[a-z0-9]{1,10}", fullmatch=True),
    st.lists(words | st.just("+"), min_size=1, max_size=5),
    st.none() | st.from_regex(r"[a-z0-9]{1,10}", fullmatch=True),
)
def test_a_grant_comes_back_from_its_text(
    permissions: list[str], namespace: str, cells: list[str], permission_set: str | None
) -> None:
    """What is shown can be typed in again."""
    pattern = "/".join(cells)
    text = grant_text(tuple(permissions), namespace, pattern, permission_set)
    assert parse_grant(text) == GrantText(permission_set, tuple(permissions), namespace, Pattern(pattern))


def test_a_set_of_one_s_own_is_another_s_no_more_than_the_built_in_one(world: World) -> None:
    """`publish` of a set is not the built-in `publish`."""
    assert world.right("door:publish@home/a") != world.right("publish@home/a")
