"""The field's rules, and the environment over them."""

import math
import warnings
from collections.abc import Callable

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st

from devices.pong.environment import FARTHEST, ID, LONGEST, Pong, serve
from devices.pong.evaluate import RULE, evaluate, random_moves
from devices.pong.field import (
    BALL_RADIUS,
    DOWN,
    HEIGHT,
    OBSERVATION,
    PADDLE_HEIGHT,
    PADDLE_SPEED,
    PADDLE_WIDTH,
    SERVE_RISE,
    SERVE_SPEED,
    SPIN,
    STEP,
    STOP,
    UP,
    WIDTH,
    Field,
    follow,
)

MIDDLE = (HEIGHT - PADDLE_HEIGHT) / 2
MOVE = PADDLE_SPEED * STEP


def coming(y: float, dy: float = 0.0, left_y: float = MIDDLE) -> Field:
    """Return a game in which the ball is about to touch the left paddle, or to pass it."""
    field = Field(y, dy)
    field.ball_x = PADDLE_WIDTH + BALL_RADIUS + 1.0
    field.left_y = left_y
    return field


def test_the_ball_is_served_to_the_left_from_the_middle() -> None:
    field = Field(100.0, 20.0)
    assert field.step(STOP) is None
    assert (field.ball_x, field.ball_y) == (WIDTH / 2 - SERVE_SPEED * STEP, 101.0)
    assert (field.ball_x_prev, field.ball_y_prev) == (WIDTH / 2, 100.0)
    assert field.ball_dx < -SERVE_SPEED, "it gets faster"


@pytest.mark.parametrize(("action", "move"), [(STOP, 0.0), (DOWN, MOVE), (UP, -MOVE)])
def test_an_action_moves_the_left_paddle(action: int, move: float) -> None:
    field = Field()
    field.step(action)
    assert field.left_y == MIDDLE + move


@pytest.mark.parametrize(("action", "edge"), [(UP, 0.0), (DOWN, HEIGHT - PADDLE_HEIGHT)])
def test_a_paddle_stays_in_the_field(action: int, edge: float) -> None:
    field = Field()
    for _ in range(30):
        field.step(action, action)
    assert field.left_y == field.right_y == edge


@pytest.mark.parametrize(("y", "dy"), [(BALL_RADIUS + 1, -100.0), (HEIGHT - BALL_RADIUS - 1, 100.0)])
def test_the_ball_bounces_off_the_walls(y: float, dy: float) -> None:
    field = Field(y, dy)
    field.step(STOP)
    assert BALL_RADIUS <= field.ball_y <= HEIGHT - BALL_RADIUS
    assert math.copysign(1.0, field.ball_dy) == -math.copysign(1.0, dy)


@pytest.mark.parametrize(
    ("y", "returned"),
    [
        (MIDDLE - BALL_RADIUS, True),
        (MIDDLE - BALL_RADIUS - 0.5, False),
        (MIDDLE + PADDLE_HEIGHT + BALL_RADIUS, True),
        (MIDDLE + PADDLE_HEIGHT + BALL_RADIUS + 0.5, False),
    ],
)
def test_a_paddle_returns_what_touches_it(y: float, *, returned: bool) -> None:
    field = coming(y)
    field.step(STOP)
    assert (field.ball_dx > 0.0) is returned
    assert field.ball_y == y


def test_who_misses_loses_and_only_once_the_ball_is_out() -> None:
    field = coming(MIDDLE - 50.0)
    steps = [field.step(STOP) for _ in range(3)]
    assert steps == [None, None, "left"]
    field = Field(20.0)
    missed = None
    while missed is None:
        missed = field.step(follow(field.observation()), DOWN)
    assert missed == "right"


@pytest.mark.parametrize(
    ("action", "factor"), [(STOP, 1.0), (DOWN, 1.0 - SPIN), (UP, 1.0 + SPIN)], ids=["still", "along", "against"]
)
def test_a_moving_paddle_gives_the_ball_spin(action: int, factor: float) -> None:
    plain, spun = coming(HEIGHT / 2, 50.0), coming(HEIGHT / 2, 50.0)
    plain.step(STOP)
    spun.step(action)
    assert spun.ball_dy == plain.ball_dy * factor


def test_the_fastest_ball_does_not_fly_through_a_paddle() -> None:
    field = Field(HEIGHT / 2)
    for _ in range(2_100):
        field.ball_dy = 0.0
        field.left_y = field.right_y = field.ball_y - PADDLE_HEIGHT / 2
        assert field.step(STOP, STOP) is None
    assert abs(field.ball_dx) == 1000.0


def test_the_observation_is_what_the_camp_saw() -> None:
    field = Field(100.0, 20.0)
    field.step(DOWN)
    seen = [value * 500 for value in field.observation()]
    left, right = field.left_y, [field.ball_x, field.ball_y, field.ball_dx, field.ball_dy, WIDTH / 2, 100.0]
    assert seen == pytest.approx([left, 0.0, *right])
    assert len(OBSERVATION) == len(seen)


@given(
    st.floats(BALL_RADIUS, HEIGHT - BALL_RADIUS),
    st.floats(-SERVE_RISE, SERVE_RISE),
    st.lists(st.sampled_from([STOP, DOWN, UP]), max_size=300),
)
def test_nothing_leaves_the_field_but_a_ball_that_was_missed(y: float, dy: float, actions: list[int]) -> None:
    field = Field(y, dy)
    for action in actions:
        missed = field.step(action)
        assert (missed is not None) == (not 0.0 <= field.ball_x <= WIDTH)
        assert BALL_RADIUS <= field.ball_y <= HEIGHT - BALL_RADIUS
        assert 0.0 <= field.left_y <= HEIGHT - PADDLE_HEIGHT
        assert all(abs(value) < FARTHEST for value in field.observation())
        if missed is not None:
            break


def test_the_environment_is_one_of_gymnasiums() -> None:
    with warnings.catch_warnings(action="error"):
        check_env(gymnasium.make(ID, render_mode="rgb_array").unwrapped)


def test_the_same_seed_plays_the_same_game() -> None:
    def played(seed: int) -> list[list[float]]:
        game = Pong()
        seen, _ = game.reset(seed=seed)
        return [seen.tolist(), *(game.step(np.int64(action % 3))[0].tolist() for action in range(50))]

    assert played(4) == played(4) != played(5)


def test_a_step_survived_is_a_point_and_a_goal_ends_the_game() -> None:
    game = Pong()
    game.reset(seed=1)
    points, over = 0.0, False
    info: dict[str, object] = {}
    while not over:
        _, point, over, cut, info = game.step(np.int64(UP))
        points += float(point)
        assert not cut
    assert info == {"missed": "left"}
    assert 0 < points < 200


def test_a_long_game_is_cut_off() -> None:
    game = Pong(longest=10)
    game.reset(seed=1)
    assert [game.step(np.int64(STOP))[3] for _ in range(10)] == [False] * 9 + [True]
    assert Pong()._longest == LONGEST


def test_a_picture_shows_paddles_and_ball() -> None:
    game = Pong(render_mode="rgb_array")
    game.reset(seed=1)
    picture = game.render()
    assert picture is not None
    assert picture.shape == (480, 640, 3)
    assert np.count_nonzero(picture[:, :, 0]) == 2 * 12 * 60 + 10 * 10


@pytest.mark.parametrize(("policy", "least", "most"), [(random_moves(1), 54, 66), (RULE, 1_120, 1_370)])
def test_players_survive_as_long_as_the_camps_did(policy: Callable[..., object], least: int, most: int) -> None:
    assert least < evaluate(policy, episodes=60, seeds=(1, 2)).mean < most  # type: ignore[arg-type] # of two kinds


def test_games_side_by_side_are_games_one_after_the_other() -> None:
    draw = np.random.default_rng(3)
    games = [serve(draw) for _ in range(5)]
    alone = []
    for field in games:
        steps = 0
        while field.step(follow(np.array(field.observation(), np.float32).tolist())) is None:
            steps += 1
        alone.append(steps)
    assert evaluate(RULE, episodes=5, seeds=(3,)).steps == tuple(alone)
