"""Draws ``docs/explanation/limiter.svg`` from a simulation: ``python -m tests.benchmarks.limiter_picture``."""

from pathlib import Path

from tests.simulation import LaravelWindow, LimiterSimulation, back_off, pace

TARGET = Path(__file__).parents[2] / "docs" / "explanation" / "limiter.svg"
CALLS, LIMIT = 2_000, 500
WIDTH, HEIGHT, LEFT, TOP = 640, 300, 60, 20
SECONDS = 260.0
COLOURS = {"this limiter": "#2a7f62", "pacing": "#3566a8", "back-off": "#c2512f"}


def simulate() -> dict[str, LaravelWindow]:
    """Simulate 2,000 requests under 500 a minute with three strategies."""
    simulation = LimiterSimulation(LIMIT, CALLS, seed=1, slowest=0.04, slots=8)
    simulation.run()
    return {"this limiter": simulation.server, "pacing": pace(LIMIT, CALLS), "back-off": back_off(LIMIT, CALLS)}


def draw(servers: dict[str, LaravelWindow]) -> str:
    """Return requests with a response against time, as SVG."""
    parts = [_grid()]
    for row, (name, server) in enumerate(servers.items()):
        points = [(0.0, 0), *((moment, count) for count, moment in enumerate(server.admitted, 1))]
        kept = [point for index, point in enumerate(points) if index % 20 == 0 or _is_corner(points, index)]
        line = " ".join(f"{_x(moment):.1f},{_y(count):.1f}" for moment, count in kept)
        colour = COLOURS[name]
        caption = f"{name}: {server.admitted[-1]:.0f} s, {server.rejected} × 429"
        y = TOP + HEIGHT - 60 + row * 20
        parts += [
            f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{line}"/>',
            f'<text x="{LEFT + WIDTH - 230}" y="{y}" fill="{colour}">{caption}</text>',
        ]
    size = f'width="{WIDTH + LEFT + 20}" height="{HEIGHT + TOP + 40}"'
    style = 'font-family="sans-serif" font-size="13"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n' + "\n".join(parts) + "\n</svg>\n"


def _is_corner(points: list[tuple[float, int]], index: int) -> bool:
    """Whether a pause begins or ends here."""
    neighbours = points[max(index - 1, 0) : index + 2]
    return neighbours[-1][0] - neighbours[0][0] > 1.0


def _grid() -> str:
    lines = ['<rect width="100%" height="100%" fill="white"/>']
    for seconds in range(0, int(SECONDS) + 1, 60):
        x = _x(seconds)
        lines.append(f'<line x1="{x}" y1="{TOP}" x2="{x}" y2="{TOP + HEIGHT}" stroke="#ddd"/>')
        lines.append(f'<text x="{x}" y="{TOP + HEIGHT + 18}" text-anchor="middle" fill="#555">{seconds} s</text>')
    for count in range(0, CALLS + 1, LIMIT):
        y = _y(count)
        lines.append(f'<line x1="{LEFT}" y1="{y}" x2="{LEFT + WIDTH}" y2="{y}" stroke="#ddd"/>')
        lines.append(f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end" fill="#555">{count:,}</text>')
    return "\n".join(lines)


def _x(seconds: float) -> float:
    return LEFT + WIDTH * seconds / SECONDS


def _y(count: float) -> float:
    return TOP + HEIGHT * (1 - count / CALLS)


if __name__ == "__main__":
    TARGET.write_text(draw(simulate()), encoding="utf-8")
    print(f"wrote {TARGET.relative_to(TARGET.parents[2])}")
