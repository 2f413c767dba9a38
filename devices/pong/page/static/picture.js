// The field as a picture, between one step and the next.

const COLOURS = { ground: "#0d1520", line: "#2c3b4d", ink: "#e9eef4", soft: "#8fa1b5", left: "#2bb5a6", right: "#ffb454" };

export class Picture {
  constructor(canvas, figures) {
    this.canvas = canvas;
    this.figures = figures;
    this.brush = canvas.getContext("2d");
    this.sharpen();
    addEventListener("resize", () => this.sharpen());
  }

  // Have as many dots as the screen shows.
  sharpen() {
    const scale = Math.max(1, (this.canvas.clientWidth / this.figures.width) * devicePixelRatio);
    this.canvas.width = Math.round(this.figures.width * scale);
    this.canvas.height = Math.round(this.figures.height * scale);
    this.scale = scale;
  }

  // Draw what lies a share (0 to 1) of the way from one moment of the field to the next.
  draw(before, after, share, names, over) {
    const { width, height, paddle_width, paddle_height, ball_radius } = this.figures;
    const { brush } = this;
    const at = (name) => before[name] + (after[name] - before[name]) * share;
    brush.setTransform(this.scale, 0, 0, this.scale, 0, 0);
    brush.fillStyle = COLOURS.ground;
    brush.fillRect(0, 0, width, height);
    brush.fillStyle = COLOURS.line;
    for (let y = 8; y < height; y += 24) brush.fillRect(width / 2 - 1.5, y, 3, 12);
    this.write(names.left, 28, 26, "left", COLOURS.soft);
    this.write(names.right, width - 28, 26, "right", COLOURS.soft);
    this.block(0, at("left_y"), paddle_width, paddle_height, COLOURS.left);
    this.block(width - paddle_width, at("right_y"), paddle_width, paddle_height, COLOURS.right);
    brush.fillStyle = COLOURS.ink;
    brush.beginPath();
    brush.arc(at("ball_x"), at("ball_y"), ball_radius, 0, 2 * Math.PI);
    brush.fill();
    if (over) this.write(over, width / 2, height * 0.72, "center", COLOURS.ink, 20);
  }

  block(x, y, wide, high, colour) {
    this.brush.fillStyle = colour;
    this.brush.beginPath();
    this.brush.roundRect(x, y, wide, high, 4);
    this.brush.fill();
  }

  write(text, x, y, align, colour, size = 14) {
    const { brush } = this;
    brush.font = `600 ${size}px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif`;
    brush.textAlign = align;
    if (size > 14) {
      const wide = brush.measureText(text).width + 32;
      this.block(x - wide / 2, y - size - 8, wide, size + 26, "#17222fe6");
    }
    brush.fillStyle = colour;
    brush.fillText(text, x, y);
  }
}
