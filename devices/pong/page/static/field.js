// The field, step by step as devices/pong/field.py has it, in the same order of operations: the same game to the last bit.
// The figures come from there.

export const [STOP, DOWN, UP] = [0, 1, 2];

export class Field {
  constructor(figures, y = figures.height / 2, dy = 0) {
    const f = figures;
    this.figures = f;
    this.moves = [0, f.paddle_speed * f.step, -f.paddle_speed * f.step];
    this.lowest = f.height - f.paddle_height;
    this.floor = f.height - f.ball_radius;
    this.leftFace = f.paddle_width + f.ball_radius; // where the ball's middle is when it touches a paddle
    this.rightFace = f.width - f.paddle_width - f.ball_radius;
    this.gain = f.acceleration * f.step;
    this.left_y = this.right_y = this.lowest / 2;
    this.ball_x = this.ball_x_prev = f.width / 2;
    this.ball_y = this.ball_y_prev = y;
    this.ball_dx = -f.serve_speed;
    this.ball_dy = dy;
  }

  // Let a step pass: paddles move, then the ball. Returns the side that missed the ball, or null.
  step(left, right) {
    const f = this.figures;
    const leftMove = this.moves[left];
    const rightMove = this.moves[right];
    this.left_y = this.within(this.left_y + leftMove);
    this.right_y = this.within(this.right_y + rightMove);
    const before = this.ball_x;
    let x = this.ball_x + this.ball_dx * f.step;
    let dx = this.faster(this.ball_dx);
    this.ball_x_prev = before;
    this.ball_y_prev = this.ball_y;
    let y = this.ball_y + this.ball_dy * f.step;
    let dy = this.faster(this.ball_dy);
    if (y < f.ball_radius) [y, dy] = [2 * f.ball_radius - y, -dy];
    else if (y > this.floor) [y, dy] = [2 * this.floor - y, -dy];
    if (x <= this.leftFace && this.leftFace < before && this.touches(this.left_y, y)) {
      [x, dx, dy] = [2 * this.leftFace - x, -dx, this.spun(dy, leftMove)];
    } else if (x >= this.rightFace && this.rightFace > before && this.touches(this.right_y, y)) {
      [x, dx, dy] = [2 * this.rightFace - x, -dx, this.spun(dy, rightMove)];
    }
    [this.ball_x, this.ball_y, this.ball_dx, this.ball_dy] = [x, y, dx, dy];
    if (x < 0) return "left";
    return x > f.width ? "right" : null;
  }

  // What the scripted right paddle does: it follows a ball that comes, and else waits in the middle.
  scripted() {
    return this.towards(this.right_y, this.ball_dx > 0 ? this.ball_y : this.figures.height / 2);
  }

  // The action that brings a paddle's middle to a mark.
  towards(paddle, mark) {
    const off = mark - (paddle + this.figures.paddle_height / 2);
    if (off > this.figures.slack) return DOWN;
    return off < -this.figures.slack ? UP : STOP;
  }

  observation() {
    const { scale } = this.figures;
    const seen = [this.left_y, 0, this.ball_x, this.ball_y, this.ball_dx, this.ball_dy, this.ball_x_prev, this.ball_y_prev];
    return seen.map((one) => one / scale);
  }

  within(paddle) {
    return paddle < 0 ? 0 : paddle > this.lowest ? this.lowest : paddle;
  }

  faster(speed) {
    const { fastest } = this.figures;
    if (speed > 0) return speed + this.gain < fastest ? speed + this.gain : fastest;
    return speed - this.gain > -fastest ? speed - this.gain : -fastest;
  }

  touches(paddle, y) {
    const { ball_radius, paddle_height } = this.figures;
    return paddle - ball_radius <= y && y <= paddle + paddle_height + ball_radius;
  }

  spun(speed, move) {
    const { spin } = this.figures;
    if (move === 0) return speed;
    return move > 0 === speed > 0 ? speed * (1 - spin) : speed * (1 + spin);
  }
}
