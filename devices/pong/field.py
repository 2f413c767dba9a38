"""The field: what one step of pong does, in plain floats.

Lengths are pixels, times seconds; x grows to the right, y downwards, and a paddle's place is its upper edge. Only
``+ - * /`` and comparisons are used, so that the same lines in another language with IEEE 754 doubles play the same
game to the last bit.

The camp's figures are the size of everything, the step, the actions and the observation. Those of speed are chosen so
that players do here what the camp's did: random moves survive 60 steps on average, the plain rule that follows the ball
about 1,244. The ball flies faster the longer a game lasts, until somebody misses it.
"""

from collections.abc import Callable, Sequence
from typing import Final, Literal, TypeAlias

WIDTH: Final = 640.0
HEIGHT: Final = 480.0
PADDLE_WIDTH: Final = 12.0
PADDLE_HEIGHT: Final = 60.0
BALL_RADIUS: Final = 5.0
STEP: Final = 0.05
SCALE: Final = 500.0  # by which an observation is divided

PADDLE_SPEED: Final = 200.0
SERVE_SPEED: Final = 150.0  # of the ball at first, to the left
SERVE_RISE: Final = 160.0  # the most that a serve goes up or down
ACCELERATION: Final = 8.5  # of the ball, along either axis
FASTEST: Final = 1000.0  # that it gets along either axis
SPIN: Final = (
    0.5  # share of its rise that the ball loses to a paddle which moves along with it, and gains from one against it
)
SLACK: Final = 5.0  # by which a follower's middle may be off its mark before it moves

STOP: Final = 0
DOWN: Final = 1
UP: Final = 2
ACTIONS: Final = (STOP, DOWN, UP)
OBSERVATION: Final = ("left_y", "left_x", "ball_x", "ball_y", "ball_dx", "ball_dy", "ball_x_prev", "ball_y_prev")

Side: TypeAlias = Literal["left", "right"]
Observation: TypeAlias = tuple[float, float, float, float, float, float, float, float]
Policy: TypeAlias = Callable[[Sequence[float]], int]
"""Gives an action for an observation."""

_MOVES: Final = (0.0, PADDLE_SPEED * STEP, -PADDLE_SPEED * STEP)
_LOWEST: Final = HEIGHT - PADDLE_HEIGHT
_FLOOR: Final = HEIGHT - BALL_RADIUS
_LEFT_FACE: Final = PADDLE_WIDTH + BALL_RADIUS  # where the ball's middle is when it touches a paddle
_RIGHT_FACE: Final = WIDTH - PADDLE_WIDTH - BALL_RADIUS
_GAIN: Final = ACCELERATION * STEP


class Field:
    """A game: two paddles and a ball, served from the middle at height ``y`` with the speed ``dy`` downwards."""

    __slots__ = ("ball_dx", "ball_dy", "ball_x", "ball_x_prev", "ball_y", "ball_y_prev", "left_y", "right_y")

    def __init__(self, y: float = HEIGHT / 2, dy: float = 0.0) -> None:
        self.left_y = self.right_y = _LOWEST / 2
        self.ball_x = self.ball_x_prev = WIDTH / 2
        self.ball_y = self.ball_y_prev = y
        self.ball_dx = -SERVE_SPEED
        self.ball_dy = dy

    def step(self, left: int, right: int | None = None) -> Side | None:
        """Let a step pass: paddles move, then the ball. Return the side that missed the ball, if one did.

        The right paddle does what :meth:`scripted` says unless ``right`` is an action.
        """
        left_move = _MOVES[left]
        right_move = _MOVES[self.scripted() if right is None else right]
        self.left_y = _within(self.left_y + left_move)
        self.right_y = _within(self.right_y + right_move)
        before, x, dx = self.ball_x, self.ball_x + self.ball_dx * STEP, _faster(self.ball_dx)
        self.ball_x_prev, self.ball_y_prev = before, self.ball_y
        y, dy = self.ball_y + self.ball_dy * STEP, _faster(self.ball_dy)
        if y < BALL_RADIUS:
            y, dy = 2.0 * BALL_RADIUS - y, -dy
        elif y > _FLOOR:
            y, dy = 2.0 * _FLOOR - y, -dy
        if x <= _LEFT_FACE < before and _touches(self.left_y, y):
            x, dx, dy = 2.0 * _LEFT_FACE - x, -dx, _spun(dy, left_move)
        elif x >= _RIGHT_FACE > before and _touches(self.right_y, y):
            x, dx, dy = 2.0 * _RIGHT_FACE - x, -dx, _spun(dy, right_move)
        self.ball_x, self.ball_y, self.ball_dx, self.ball_dy = x, y, dx, dy
        if x < 0.0:
            return "left"
        return "right" if x > WIDTH else None

    def scripted(self) -> int:
        """Return what the scripted right paddle does: it follows a ball that comes, and else waits in the middle."""
        return towards(self.right_y, self.ball_y if self.ball_dx > 0.0 else HEIGHT / 2.0)

    def observation(self) -> Observation:
        """Return what the left player sees (:data:`OBSERVATION`), divided by :data:`SCALE`; its own x is 0."""
        return (
            self.left_y / SCALE,
            0.0,
            self.ball_x / SCALE,
            self.ball_y / SCALE,
            self.ball_dx / SCALE,
            self.ball_dy / SCALE,
            self.ball_x_prev / SCALE,
            self.ball_y_prev / SCALE,
        )


def follow(observation: Sequence[float]) -> int:
    """Return the action of the plain rule: the paddle's middle goes where the ball is."""
    return towards(observation[0] * SCALE, observation[3] * SCALE)


def towards(paddle: float, mark: float, slack: float = SLACK) -> int:
    """Return the action that brings the paddle's middle to within ``slack`` of a mark."""
    off = mark - (paddle + PADDLE_HEIGHT / 2.0)
    if off > slack:
        return DOWN
    return UP if off < -slack else STOP


def _within(paddle: float) -> float:
    return 0.0 if paddle < 0.0 else min(paddle, _LOWEST)


def _faster(speed: float) -> float:
    if speed > 0.0:
        return min(FASTEST, speed + _GAIN)
    return max(-FASTEST, speed - _GAIN)


def _touches(paddle: float, y: float) -> bool:
    return paddle - BALL_RADIUS <= y <= paddle + PADDLE_HEIGHT + BALL_RADIUS


def _spun(speed: float, move: float) -> float:
    """Return the ball's speed up or down after a paddle that moved so."""
    if move == 0.0:
        return speed
    return speed * (1.0 - SPIN) if (move > 0.0) == (speed > 0.0) else speed * (1.0 + SPIN)
