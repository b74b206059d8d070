"""Draws bar charts as SVG on a white background, for light and dark pages."""

from collections.abc import Sequence

import attrs

__all__ = ["Bar", "draw"]

WIDTH, LEFT, RIGHT, ROW = 360, 280, 110, 26


@attrs.frozen
class Bar:
    """One bar: its title, its length, the caption at its end, and its colour."""

    title: str
    length: float
    caption: str
    colour: str


def draw(bars: Sequence[Bar], *, unit: float, caption: str) -> str:
    """Return bars below one another, with a line for each ``unit`` of length."""
    longest = max(bar.length for bar in bars)
    height = ROW * len(bars) + 40
    parts = ['<rect width="100%" height="100%" fill="white"/>']
    for number in range(int(longest / unit) + 1):
        x = LEFT + WIDTH * number * unit / longest
        parts.append(f'<line x1="{x:.1f}" y1="10" x2="{x:.1f}" y2="{height - 26}" stroke="#ddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{height - 10}" text-anchor="middle" fill="#555">{number * unit:g}</text>')
    for row, bar in enumerate(bars):
        y, length = 12 + row * ROW, WIDTH * bar.length / longest
        parts += [
            f'<text x="{LEFT - 8}" y="{y + 15}" text-anchor="end" fill="#222">{bar.title}</text>',
            f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{ROW - 6}" fill="{bar.colour}"/>',
            f'<text x="{LEFT + length + 6:.1f}" y="{y + 15}" fill="#222">{bar.caption}</text>',
        ]
    size = f'width="{LEFT + WIDTH + RIGHT}" height="{height}"'
    style = f'font-family="sans-serif" font-size="13" role="img" aria-label="{caption}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n' + "\n".join(parts) + "\n</svg>\n"
