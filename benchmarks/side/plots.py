"""Line plots as SVG, with nothing but the standard library."""

from __future__ import annotations

import math
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 640, 380
LEFT, RIGHT, TOP, BOTTOM = 66, 150, 34, 46
COLORS = (
    "#c0392b",
    "#2166ac",
    "#1b7837",
    "#e08214",
    "#762a83",
    "#35978f",
    "#8c510a",
    "#737373",
    "#d6609a",
    "#7aa000",
    "#4d4d9a",
    "#111111",
)
"""Readable on white and on black; the first one is for this package."""

BACKGROUND, INK, GRID = "#ffffff", "#333333", "#dddddd"


@dataclass(frozen=True)
class Line:
    """A series of points, from left to right."""

    name: str
    points: list[tuple[float, float]]
    emphasized: bool = False
    dashed: bool = False


@dataclass(frozen=True)
class Axis:
    """From *low* to *high*; if it is logarithmic, the same ratio is as long everywhere."""

    low: float
    high: float
    begin: float
    end: float
    logarithmic: bool

    def at(self, value: float) -> float:
        low, high, here = self.low, self.high, value
        if self.logarithmic:
            low, high, here = math.log10(low), math.log10(high), math.log10(value)
        share = (here - low) / (high - low) if high > low else 0.5
        return self.begin + share * (self.end - self.begin)

    def ticks(self) -> list[float]:
        if self.logarithmic:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            found = [10.0**power for power in powers if self.low <= 10.0**power <= self.high]
            if len(found) > 2:
                return found
            more = [step * 10.0**power for power in powers for step in (1, 2, 5)]
            return [each for each in more if self.low <= each <= self.high]
        step = 10 ** math.floor(math.log10(self.high - self.low))
        for finer in (1, 2, 4, 5):
            if (self.high - self.low) / (step / finer) >= 4:
                step /= finer
                break
        first = math.ceil(self.low / step)
        return [number * step for number in range(first, int(self.high / step + 1e-9) + 1)]


def plot(
    title: str, x_title: str, y_title: str, lines: list[Line], *, x_log: bool, y_log: bool
) -> str:
    """Return a picture. Names stand at the ends of the lines, apart where they would meet."""
    values = [point for line in lines for point in line.points]
    ys = [y for _, y in values]
    low, high = (min(ys) / 1.3, max(ys) * 1.3) if y_log else (0, max(ys) * 1.08)
    x_axis = Axis(min(x for x, _ in values), max(x for x, _ in values), LEFT, WIDTH - RIGHT, x_log)
    y_axis = Axis(low, high, HEIGHT - BOTTOM, TOP, y_log)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="sans-serif" font-size="11" fill="{INK}">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{BACKGROUND}"/>',
        _text(LEFT, 18, title, weight="bold"),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x_title, anchor="middle"),
        _text(14, (TOP + HEIGHT - BOTTOM) / 2, y_title, anchor="middle", turned=True),
    ]
    for tick in y_axis.ticks():
        y = y_axis.at(tick)
        parts.append(_stroke([(LEFT, y), (WIDTH - RIGHT, y)], GRID, 1))
        parts.append(_text(LEFT - 6, y + 4, _number(tick), anchor="end"))
    for x in sorted({x for x, _ in values}):
        parts.append(_text(x_axis.at(x), HEIGHT - BOTTOM + 16, _number(x), anchor="middle"))
    parts += _lines(lines, x_axis, y_axis)
    return "\n".join([*parts, "</svg>", ""])


def _lines(lines: list[Line], x_axis: Axis, y_axis: Axis) -> list[str]:
    parts = []
    ends: list[tuple[float, str, str]] = []
    for number, line in enumerate(lines):
        color = COLORS[number % len(COLORS)]
        points = [(x_axis.at(x), y_axis.at(y)) for x, y in line.points]
        parts.append(_stroke(points, color, 3 if line.emphasized else 1.5, dashed=line.dashed))
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{color}"/>' for x, y in points]
        ends.append((points[-1][1], line.name, color))
    below = -math.inf
    for y, name, color in sorted(ends):
        below = max(y, below + 12)
        weight = "bold" if color == COLORS[0] else "normal"
        parts.append(_text(WIDTH - RIGHT + 8, below + 4, name, color=color, weight=weight))
    return parts


def _stroke(
    points: list[tuple[float, float]], color: str, width: float, *, dashed: bool = False
) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dashes = ' stroke-dasharray="4 3"' if dashed else ""
    return (
        f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="{width}"{dashes}/>'
    )


def _text(
    x: float,
    y: float,
    text: str,
    *,
    anchor: str = "start",
    color: str = INK,
    weight: str = "normal",
    turned: bool = False,
) -> str:
    turn = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turned else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}" '
        f'font-weight="{weight}"{turn}>{escape(text)}</text>'
    )


def _number(value: float) -> str:
    if value >= 1:
        return f"{value:,.10g}"
    return f"{value:g}"
