"""Lets the peers take turns, each time in fresh processes, and repeats what was disturbed."""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.registry import PEERS, is_installed
from benchmarks.side.results import Disturbance, Samples, median, spread
from benchmarks.side.workload import Turn, Workload

MOST_DISTURBED = 0.1
"""Of all processors, that others may take before a repetition is taken again."""


@dataclass(frozen=True)
class Options:
    """How a run is to be made; what is None is as the workload says."""

    directory: str | None = None
    stores: Path | None = None
    """Where to keep the stores that are only read, for further runs."""
    sizes: dict[str, tuple[int, ...]] | None = None
    """By what the sizes of a workload are."""
    rounds: int | None = None
    seconds: float | None = None
    peers: tuple[str, ...] | None = None
    again: int = 2
    """How often to repeat what others disturbed; then the least disturbed one counts."""


QUICK = Options(rounds=2, seconds=0.1, again=0)
SMALLEST = Options(
    sizes={"objects": (300,), "processes": (2,), "threads": (2,), "MiB": (1,)},
    rounds=1,
    seconds=0.02,
    again=0,
)
"""Only whether all works is asked."""


def say(text: str) -> None:
    """Tell how far we are."""
    print(text, file=sys.stderr, flush=True)


def run(workload: Workload, options: Options) -> dict[str, Any]:
    """Return, by size, the samples of each peer; and how much others disturbed."""
    found = {}
    for size in (options.sizes or {}).get(workload.size_is, workload.sizes):
        with tempfile.TemporaryDirectory(prefix="bench-", dir=options.directory) as directory:
            place = Path(directory)
            stores = (options.stores or place / "stores").resolve()
            stores.mkdir(parents=True, exist_ok=True)
            found[str(size)] = _run_size(workload, size, options, place, stores)
    return found


def _peers(workload: Workload, options: Options) -> Iterable[str]:
    for peer in workload.taking_part():
        if options.peers and peer not in options.peers:
            continue
        if is_installed(peer):
            yield peer
        else:
            say(f"  {PEERS[peer].title} is not installed: left out")


def _run_size(
    workload: Workload, size: int, options: Options, place: Path, stores: Path
) -> dict[str, Any]:
    peers = list(_peers(workload, options))
    samples: dict[str, Samples] = {
        peer: {figure.name: [] for figure in workload.figures} for peer in peers
    }
    disturbed: list[float] = []
    rounds = options.rounds or workload.rounds
    for number in range(rounds):
        for peer in random.sample(peers, len(peers)):
            what = f"{workload.name} {size or ''} {peer}, {number + 1} of {rounds}"
            turn = Turn(peer, size, options.seconds or workload.seconds, place / "turn", stores)
            one, share = _repeated(workload, turn, options.again, what)
            disturbed.append(share)
            for name, value in one.items():
                samples[peer][name].append(value)
    return {"samples": samples, "disturbed": disturbed}


def _repeated(
    workload: Workload, turn: Turn, again: int, what: str
) -> tuple[dict[str, float], float]:
    """Return what is measured, and how much others disturbed; least disturbed of some."""
    best: tuple[float, dict[str, float]] = (float("inf"), {})
    for _ in range(1 + again):
        turn.directory.mkdir()
        disturbance = Disturbance()
        one = workload.run(turn)
        share = disturbance.share()
        shutil.rmtree(turn.directory)
        best = min(best, (share, one), key=lambda each: each[0])
        if share <= MOST_DISTURBED:
            break
    share, one = best
    units = {figure.name: figure.unit for figure in workload.figures}
    told = ", ".join(f"{value:.4g} {units[name]}".strip() for name, value in one.items())
    say(f"  {what}: {told}" + (f"; disturbed by {share:.0%}" if share > MOST_DISTURBED else ""))
    return one, share


def lines(workload: Workload, found: dict[str, Any]) -> Iterable[str]:
    """Yield a table of the medians, for the terminal."""
    for size, each in found.items():
        heading = f"{workload.title}" + (
            f": {int(size):,} {workload.size_is}" if int(size) else ""
        )
        yield heading
        for peer, samples in each["samples"].items():
            cells = [
                f"{median(values):12.4g} {figure.unit:4} +-{spread(values) / 2:4.0%}"
                for figure in workload.figures
                if (values := samples.get(figure.name))
            ]
            yield f"  {PEERS[peer].title:16}" + "  ".join(cells)
