"""Pong as a Gymnasium environment, ``wave/Pong-v0``: the left paddle learns, the right one is scripted."""

from typing import Any, ClassVar, Final, SupportsFloat

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

from devices.pong.field import (
    ACTIONS,
    BALL_RADIUS,
    HEIGHT,
    OBSERVATION,
    PADDLE_HEIGHT,
    PADDLE_WIDTH,
    SERVE_RISE,
    WIDTH,
    Field,
)

ID: Final = "wave/Pong-v0"
LONGEST: Final = 5_000  # steps after which a game is cut off
FARTHEST: Final = 4.0  # that any number of an observation can get from 0

Seen = NDArray[np.float32]


class Pong(gymnasium.Env[Seen, np.int64]):
    """A game until a goal, on either side: one point for each step survived, cut off after ``longest`` steps.

    A step that ends in a goal gives no point.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 20}  # type: ignore[misc] # of the class, as in every environment

    def __init__(self, render_mode: str | None = None, longest: int = LONGEST) -> None:
        self.observation_space = Box(-FARTHEST, FARTHEST, (len(OBSERVATION),), np.float32)
        self.action_space = Discrete(len(ACTIONS))
        self.render_mode = render_mode
        self.field = Field()
        self._longest = longest
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Seen, dict[str, Any]]:
        """Serve: a height and a rise are drawn."""
        super().reset(seed=seed, options=options)
        self.field = serve(self.np_random)
        self._steps = 0
        return np.array(self.field.observation(), np.float32), {}

    def step(self, action: np.int64) -> tuple[Seen, SupportsFloat, bool, bool, dict[str, Any]]:
        """Let a step pass; the info says which side missed the ball."""
        missed = self.field.step(int(action))
        self._steps += 1
        seen = np.array(self.field.observation(), np.float32)
        if missed is not None:
            return seen, 0.0, True, False, {"missed": missed}
        return seen, 1.0, False, self._steps >= self._longest, {}

    def render(self) -> NDArray[np.uint8] | None:  # type: ignore[override] # a frame, not a list of them
        """Return the field as a picture, white on black, in the mode ``rgb_array``."""
        if self.render_mode is None:
            return None
        picture = np.zeros((int(HEIGHT), int(WIDTH), 3), np.uint8)
        field = self.field
        for left, top, right, bottom in (
            (0.0, field.left_y, PADDLE_WIDTH, field.left_y + PADDLE_HEIGHT),
            (WIDTH - PADDLE_WIDTH, field.right_y, WIDTH, field.right_y + PADDLE_HEIGHT),
            (
                field.ball_x - BALL_RADIUS,
                field.ball_y - BALL_RADIUS,
                field.ball_x + BALL_RADIUS,
                field.ball_y + BALL_RADIUS,
            ),
        ):
            picture[max(0, round(top)) : max(0, round(bottom)), max(0, round(left)) : max(0, round(right))] = 255
        return picture


def serve(draw: np.random.Generator) -> Field:
    """Return a new game, its serve drawn."""
    height = float(draw.uniform(BALL_RADIUS, HEIGHT - BALL_RADIUS))
    return Field(height, float(draw.uniform(-SERVE_RISE, SERVE_RISE)))


gymnasium.register(ID, entry_point=f"{__name__}:{Pong.__name__}")
