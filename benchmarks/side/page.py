"""Writes the page of results: ``python -m benchmarks --json FILE --page docs/benchmarks``."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any

from benchmarks.peers.registry import PEERS
from benchmarks.side import results
from benchmarks.side.goals import GOALS, Goal
from benchmarks.side.plots import Line, plot
from benchmarks.side.results import median, spread
from benchmarks.side.runner import MOST_DISTURBED
from benchmarks.side.words import AHEAD, AIMS, CHOOSE, HEAD, NOT_HERE, REASONS, WORDS
from benchmarks.side.workload import LESS, Figure, Workload
from benchmarks.side.workloads import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PLOTS = (
    # File, workload, figure, title, logarithmic x and y.
    (
        "writers.svg",
        "own",
        "rate",
        "Durable commits in a second, all writers together",
        True,
        True,
    ),
    ("growth.svg", "growth", "us", "One small commit, by the size of the store", True, True),
    ("memory.svg", "memory", "mib", "Memory, by threads that have read everything", False, False),
    ("start.svg", "start", "ms", "From starting Python to the first attribute", True, False),
)

Samples = dict[str, dict[str, list[float]]]


def publish(found: dict[str, Any], directory: Path) -> None:
    """Write the page and its pictures into *directory*, and the results beside them."""
    directory.mkdir(parents=True, exist_ok=True)
    results.write(directory / "results.json", found)
    for name, *what in PLOTS:
        picture = _picture(found, *what)
        if picture:
            (directory / name).write_text(picture, "utf-8")
    (directory / "index.rst").write_text("\n".join(_page(found)) + "\n", "utf-8")


def _workload(name: str) -> Workload:
    return next(each for each in WORKLOADS if each.name == name)


def _picture(
    found: dict[str, Any], name: str, figure: str, title: str, x_log: bool, y_log: bool
) -> str:
    """Return a plot over the sizes of a workload; nothing if there are not two."""
    workload = _workload(name)
    sizes = sorted(found["side"].get(name, {}), key=int)
    if len(sizes) < 2:
        return ""
    lines = []
    for peer in workload.taking_part():
        points = [
            (int(size), median(values))
            for size in sizes
            if (values := found["side"][name][size]["samples"].get(peer, {}).get(figure))
        ]
        if len(points) > 1:
            lines.append(
                Line(PEERS[peer].title, points, peer == "ours", dashed=PEERS[peer].is_limit)
            )
    unit = next(each for each in workload.figures if each.name == figure).unit
    return plot(title, workload.size_is, unit, lines, x_log=x_log, y_log=y_log)


# -- the page ---------------------------------------------------------------------------


def _page(found: dict[str, Any]) -> Iterator[str]:
    title = "Side by side"
    yield ".. Written by ``python -m benchmarks --json results.json --page docs/benchmarks``."
    yield "   Change benchmarks/side/page.py and words.py instead.\n"
    yield f"{title}\n{'=' * len(title)}\n"
    yield HEAD
    yield from _warning(found)
    yield from _heading("Read this first", "-")
    yield CHOOSE
    yield from _summary(found)
    yield from _heading("What is aimed at", "-")
    yield AIMS
    yield from _aims(found)
    yield from _heading("Where a peer is ahead", "-")
    yield AHEAD
    yield from _ahead(found)
    yield from _heading("The machine, and what disturbed it", "-")
    yield from _machine(found)
    yield from _heading("Who takes part", "-")
    yield from _who()
    yield from _heading("Figures", "-")
    yield _fill(
        "Medians of repetitions, each in fresh processes, the peers in random order; *spread* "
        "is the greatest less the least, by the median. *Ratio* is how many times as good as this "
        "peer dobbin_like is: 2 is half the time, or twice as much in the same time. Limits are "
        "in italics; no store can be much better than they are."
    )
    for workload in WORKLOADS:
        if workload.name in found["side"]:
            yield from _of_workload(workload, found["side"][workload.name])
    if found["rows"]:
        yield from _rows(found["rows"])
    yield from _heading("What is not measured here", "-")
    yield NOT_HERE


ENOUGH = 3
"""Repetitions, below which a figure is a first look."""


def _warning(found: dict[str, Any]) -> Iterator[str]:
    """Say at the head what disturbed the run, and where there are few repetitions."""
    sizes = [each for workload in found["side"].values() for each in workload.values()]
    few = sum(
        min(len(values) for figures in each["samples"].values() for values in figures.values())
        < ENOUGH
        for each in sizes
    )
    shares = [share for each in sizes for share in each["disturbed"]]
    if few or median(shares) > MOST_DISTURBED:
        yield ".. warning::\n"
        told = (
            f"Other programs were busy on the machine: they had {median(shares):.0%} of the "
            f"processors in the median repetition. {few} of {len(sizes)} tables have less than "
            f"{ENOUGH} repetitions. Take a difference of less than a half as none."
        )
        yield textwrap.indent(_fill(told), "   ") + "\n"


def _heading(title: str, under: str) -> Iterator[str]:
    yield f"\n{title}\n{under * len(title)}\n"


def _fill(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), 98, break_long_words=False)


def _table(head: list[str], rows: list[list[str]]) -> Iterator[str]:
    yield "\n.. list-table::\n   :header-rows: 1\n   :stub-columns: 1\n"
    for row in [head, *rows]:
        yield from (
            f"   {'*' if not column else ' '} - {cell}".rstrip() for column, cell in enumerate(row)
        )
    yield ""


def _machine(found: dict[str, Any]) -> Iterator[str]:
    machine = found["machine"]
    rows = [[what, value] for what, value in machine.items() if not what.startswith("version of ")]
    rows += [
        [what.removeprefix("version of "), value]
        for what, value in machine.items()
        if what.startswith("version of ")
    ]
    yield from _table(["what", "which"], rows)
    shares = [
        share
        for workload in found["side"].values()
        for each in workload.values()
        for share in each["disturbed"]
    ]
    over = sum(share > MOST_DISTURBED for share in shares)
    yield _fill(
        f"Other programs had {median(shares):.0%} of the processors during the median repetition, "
        f"and {max(shares):.0%} during the worst. In {over} of {len(shares)} repetitions it was "
        f"more than {MOST_DISTURBED:.0%}. Each table says what it was there."
    )


def _who() -> Iterator[str]:
    rows = [
        [f"*{peer.title}*" if peer.is_limit else peer.title, peer.setting or "this package"]
        for peer in PEERS.values()
    ]
    yield from _table(["", "how"], rows)


def _of_workload(workload: Workload, found: dict[str, Any]) -> Iterator[str]:
    yield from _heading(workload.title, "~")
    yield _fill(workload.text)
    for name, plotted, *_ in PLOTS:
        if plotted == workload.name and len(found) > 1:
            yield f"\n.. image:: {name}\n   :alt: {workload.title}: a line for each store\n"
    for size in sorted(found, key=int):
        samples: Samples = found[size]["samples"]
        if int(size):
            yield f"\n**{int(size):,} {workload.size_is}**\n"
        yield from (
            _by_figure(workload, samples)
            if len(workload.figures) > 6
            else _by_peer(workload, samples)
        )
        disturbed = median(found[size]["disturbed"])
        counts = sorted({len(each) for peer in samples.values() for each in peer.values()})
        repetitions = " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
        yield (
            f"Repetitions: {repetitions}. Others had {disturbed:.0%} of the processors, in the "
            "median.\n"
        )
    left_out = workload.left_out()
    if left_out:
        told = "; ".join(f"{PEERS[peer].title}: {why}" for peer, why in left_out.items())
        yield _fill(f"Left out: {told}.") + "\n"
    if workload.name in WORDS:
        yield WORDS[workload.name] + "\n"


def _by_peer(workload: Workload, samples: Samples) -> Iterator[str]:
    first, *more = workload.figures
    head = ["", f"{first.title} [{first.unit}]", "spread", "ratio"]
    head += [f"{each.title} [{each.unit}]" if each.unit else each.title for each in more]
    peers = sorted(
        samples, key=lambda peer: median(samples[peer][first.name]), reverse=first.better != LESS
    )
    rows = []
    for peer in peers:
        values = samples[peer][first.name]
        row = [_title(peer), number(median(values)), f"{spread(values):.0%}"]
        row.append(_ratio(first, samples, peer))
        rows.append(row + [number(median(samples[peer][each.name])) for each in more])
    yield from _table(head, rows)


def _by_figure(workload: Workload, samples: Samples) -> Iterator[str]:
    peers = [peer for peer in workload.peers if peer in samples]
    head = [""]
    for peer in peers:
        head += [f"{_title(peer)} [{workload.figures[0].unit}]"]
        head += [] if peer == "ours" else ["ratio"]
    rows = []
    for figure in workload.figures:
        row = [figure.title]
        for peer in peers:
            row.append(number(median(samples[peer][figure.name])))
            row += [] if peer == "ours" else [_ratio(figure, samples, peer)]
        rows.append(row)
    yield from _table(head, rows)


def _title(peer: str) -> str:
    title = PEERS[peer].title
    return f"*{title}*" if PEERS[peer].is_limit else f"**{title}**" if peer == "ours" else title


def ratio(figure: Figure, samples: Samples, peer: str) -> float:
    """Return how many times as good ours is as that of a peer."""
    ours, theirs = (median(samples[each][figure.name]) for each in ("ours", peer))
    return theirs / ours if figure.better == LESS else ours / theirs


def _ratio(figure: Figure, samples: Samples, peer: str) -> str:
    if peer == "ours" or "ours" not in samples:
        return ""
    return number(ratio(figure, samples, peer))


def number(value: float) -> str:
    """Return three digits of it."""
    if math.isnan(value):
        return "none seen"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.095 or not value else f"{value:.2g}"


def _aims(found: dict[str, Any]) -> Iterator[str]:
    rows = []
    for goal in GOALS:
        reached = of_row(goal, found) if goal.workload == "rows" else of_side(goal, found)
        if reached is not None:
            peer = PEERS[goal.peer].title if goal.peer in PEERS else goal.peer
            row = [goal.what, peer, number(goal.at_least), number(reached)]
            rows.append(row + (["", ""] if reached >= goal.at_least else why_not(goal, found)))
    head = ["", "beside", "at least", "reached", "by a limit", "what keeps it from there"]
    yield from _table(head, rows)


def why_not(goal: Goal, found: dict[str, Any]) -> list[str]:
    """Return how far a limit comes, and what keeps us from an aim that is not reached."""
    limit = of_side(goal, found, goal.limit) if goal.limit else None
    if limit is None:
        return ["", goal.why]
    by_limit = f"*{PEERS[goal.limit].title}*: {number(limit)}"
    if limit < goal.at_least:
        return [by_limit, f"No store can. {goal.why}".rstrip()]
    return [by_limit, goal.why]


def of_row(goal: Goal, found: dict[str, Any]) -> float | None:
    """Return how many times as good a row of a theme is as its reference; None: not measured."""
    for row in [each for rows in found["rows"].values() for each in rows]:
        if row["what"].startswith(goal.figure) and row["reference"]:
            quotient: float = row["ours"] / row["reference"]
            return quotient if "/s" in row["unit"] else 1 / quotient
    return None


def of_side(goal: Goal, found: dict[str, Any], whose: str = "ours") -> float | None:
    """Return how many times as good a figure is as that of a peer; None: not measured."""
    sizes = found["side"].get(goal.workload, {})
    size = goal.size or max(map(int, sizes), default=-1)
    if str(size) not in sizes:
        return None
    samples: Samples = sizes[str(size)]["samples"]
    figure = next(each for each in _workload(goal.workload).figures if each.name == goal.figure)
    if goal.peer == "itself":
        before = sizes.get(
            "1" if _workload(goal.workload).size_is == "threads" else str(size // 10)
        )
        if before is None:
            return None
        samples = {whose: samples[whose], "itself": before["samples"][whose]}
    if goal.peer not in samples or whose not in samples:
        return None
    return ratio(figure, {**samples, "ours": samples[whose]}, goal.peer)


def _ahead(found: dict[str, Any]) -> Iterator[str]:
    """Who is better in the first figure, by more than the spread of both; by how much, and why."""
    rows = []
    for workload in WORKLOADS:
        ahead = []
        for size, each in sorted(found["side"].get(workload.name, {}).items(), key=_number_first):
            names = _ahead_of_us(workload, each["samples"])
            if names:
                ahead.append((f"{int(size):,}: " if int(size) else "") + ", ".join(names))
        if ahead:
            reason = REASONS.get(workload.name, "")
            rows.append([workload.title, "; ".join(ahead), reason])
    yield from _table(["", "factors", "why"], rows)


def _number_first(item: tuple[str, Any]) -> int:
    return int(item[0])


def _ahead_of_us(workload: Workload, samples: Samples) -> list[str]:
    """Return the peers that are ahead, first by how much."""
    figures = workload.figures if len(workload.figures) > 6 else workload.figures[:1]
    found = []
    for figure in figures:
        ours = samples.get("ours", {}).get(figure.name)
        for peer in samples:
            if not ours or peer == "ours" or PEERS[peer].is_limit:
                continue
            theirs = samples[peer][figure.name]
            factor = 1 / ratio(figure, samples, peer)
            clear = max(theirs) < min(ours) if figure.better == LESS else min(theirs) > max(ours)
            if factor > 1.05 and clear:
                what = (
                    f"{figure.title.partition(':')[0]} " if figures != workload.figures[:1] else ""
                )
                found.append((factor, f"{what}{PEERS[peer].title} {number(factor)}"))
    return [text for _, text in sorted(found, reverse=True)]


def _summary(found: dict[str, Any]) -> Iterator[str]:
    """For each workload in its greatest size: ours, the limit, the best peer, and a few."""
    rows = []
    for workload in WORKLOADS:
        if workload.name not in found["side"] or workload.name == "oo7":
            continue
        each = found["side"][workload.name]
        size = max(each, key=int)
        samples: Samples = each[size]["samples"]
        figure = workload.figures[0]
        rows.append(_summed(workload, figure, samples, int(size)))
    head = [
        "",
        "dobbin_like",
        "best peer",
        "ratio",
        "limit",
        "ratio",
        "against ZODB or ZEO",
        "against SQLite",
    ]
    yield from _table(head, rows)


def _summed(workload: Workload, figure: Figure, samples: Samples, size: int) -> list[str]:
    def of(peer: str) -> float:
        return median(samples[peer][figure.name])

    best = min if figure.better == LESS else max
    stores = [peer for peer in samples if peer != "ours" and not PEERS[peer].is_limit]
    limits = [peer for peer in samples if PEERS[peer].is_limit]
    what = workload.title + (f", {size:,} {workload.size_is}" if size else "")
    row = [what, f"{number(of('ours'))} {figure.unit}"]
    for peers in (stores, limits):
        if not peers:
            row += ["", ""]
            continue
        peer = best(peers, key=of)
        row += [f"{PEERS[peer].title}: {number(of(peer))}", _ratio(figure, samples, peer)]
    zodb = next((peer for peer in ("zodb", "zeo") if peer in samples), "")
    sqlite = next((peer for peer in ("sqlite",) if peer in samples), "")
    return row + [_ratio(figure, samples, peer) if peer else "" for peer in (zodb, sqlite)]


def _rows(rows: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    yield from _heading("Beside the same work without a store", "~")
    yield _fill(
        "Figures of the package alone, each with that of a reference from the same run; *ratio* "
        "is ours by the reference. ``benchmarks/README.rst`` tells what each is."
    )
    lines = []
    for row in [each for group in rows.values() for each in group]:
        reference = "" if row["reference"] is None else f"{number(row['reference'])} {row['unit']}"
        shown = "" if row["ratio"] is None else number(row["ratio"])
        lines.append([row["what"], f"{number(row['ours'])} {row['unit']}", reference, shown])
    yield from _table(["", "ours", "reference", "ratio"], lines)
