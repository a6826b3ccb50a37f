"""Plots as SVG: rectangles whose areas are sizes, and bars along the time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from dobbin_like.browse.html import Html, el
from dobbin_like.browse.moments import Bucket

WIDTH: Final = 960
HEIGHT: Final = 380

_LETTER: Final = 7.2
"""The width of a letter in the labels."""

_COLOURS: Final = 10


class Rectangle(NamedTuple):
    """Where something lies in a plot."""

    x: float
    y: float
    width: float
    height: float


class Item(NamedTuple):
    """What has an area in a plot."""

    name: str
    size: float
    told: str
    address: str


def squarified(sizes: Sequence[float], inside: Rectangle) -> list[Rectangle]:
    """Return a rectangle for each of *sizes*, the largest first, that fill the one outside.

    Rows of rectangles that are as square as they can be, one behind the other along the longer
    side of what is left.
    """
    total = sum(sizes)
    if not total:
        return []
    scale = inside.width * inside.height / total
    areas = [size * scale for size in sizes]
    found: list[Rectangle] = []
    first = 0
    while first < len(areas):
        side = max(min(inside.width, inside.height), 1e-9)
        end = first + 1
        while end < len(areas) and _worst(areas[first : end + 1], side) <= _worst(
            areas[first:end], side
        ):
            end += 1
        rectangles, inside = _laid(areas[first:end], inside)
        found += rectangles
        first = end
    return found


def _worst(areas: Sequence[float], side: float) -> float:
    """Return how far from a square the worst rectangle of a row is."""
    total = sum(areas)
    smallest, largest = max(min(areas), 1e-12), max(areas)
    return max(side * side * largest / (total * total), total * total / (side * side * smallest))


def _laid(areas: Sequence[float], inside: Rectangle) -> tuple[list[Rectangle], Rectangle]:
    """Return a row of rectangles, and what it leaves."""
    x, y, width, height = inside
    total = sum(areas)
    row: list[Rectangle] = []
    if width >= height:
        depth = total / height if height else 0.0
        for area in areas:
            length = area / depth if depth else 0.0
            row.append(Rectangle(x, y, depth, length))
            y += length
        return row, Rectangle(x + depth, inside.y, max(0.0, width - depth), height)
    depth = total / width if width else 0.0
    for area in areas:
        length = area / depth if depth else 0.0
        row.append(Rectangle(x, y, length, depth))
        x += length
    return row, Rectangle(inside.x, y + depth, width, max(0.0, height - depth))


def treemap(items: Sequence[Item]) -> Html:
    """Return a plot of *items*, the largest first."""
    whole = Rectangle(0, 0, WIDTH, HEIGHT)
    rectangles = squarified([size for _, size, _, _ in items], whole)
    boxes = [
        _box(rectangle, number % _COLOURS, item)
        for number, (rectangle, item) in enumerate(zip(rectangles, items, strict=False))
    ]
    return el(
        "svg",
        boxes,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        class_="treemap",
        role="group",
        aria_label="Bytes by class; the table below has the figures",
    )


def _box(place: Rectangle, colour: int, item: Item) -> Html:
    name, _, told, address = item
    short = name.rpartition(".")[2]
    labels: list[Html] = []
    room = int((place.width - 12) / _LETTER)
    if room >= 4 and place.height >= 20:
        label = short if len(short) <= room else f"{short[: room - 1]}\u2026"
        labels.append(el("text", label, x=_n(place.x + 7), y=_n(place.y + 17)))
        if place.height >= 38 and len(told) <= room + 2:
            labels.append(el("text", told, x=_n(place.x + 7), y=_n(place.y + 34), class_="told"))
    box = el(
        "rect",
        x=_n(place.x + 1),
        y=_n(place.y + 1),
        width=_n(max(0.5, place.width - 2)),
        height=_n(max(0.5, place.height - 2)),
        rx=3,
        class_=f"colour-{colour}",
    )
    return el("a", el("title", f"{name}: {told}"), box, labels, href=address)


def timeline(buckets: Sequence[tuple[Bucket, str, str]]) -> Html:
    """Return bars along the time: each bucket with what is told of it and its address."""
    height, floor = 110, 108
    highest = max((each.commits + each.failed for each, _, _ in buckets), default=0) or 1
    step = WIDTH / max(len(buckets), 1)
    bars: list[Html] = []
    for number, (bucket, told, address) in enumerate(buckets):
        count = bucket.commits + bucket.failed
        if not count:
            continue
        x, width = _n(number * step), _n(max(1.0, step - 1.5))
        whole = max(3.0, count / highest * (height - 8))
        failed = whole * bucket.failed / count
        parts = [
            el("rect", x=x, y=_n(floor - whole), width=width, height=_n(whole - failed), rx=1),
            el(
                "rect",
                x=x,
                y=_n(floor - failed),
                width=width,
                height=_n(failed),
                class_="failed",
            )
            if failed
            else None,
        ]
        bars.append(el("a", el("title", told), parts, href=address))
    line = el("line", x1=0, x2=WIDTH, y1=floor + 1, y2=floor + 1)
    return el(
        "svg",
        bars,
        line,
        viewBox=f"0 0 {WIDTH} {height}",
        class_="timeline",
        role="group",
        aria_label="Transactions along the time; the list below has them one by one",
    )


def _n(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
