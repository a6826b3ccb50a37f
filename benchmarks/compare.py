"""Two revisions of the package, in turn, by the workloads that matter most.

``python -m benchmarks --compare REV`` takes the package of this source and that of a revision of
git. Both are measured by the benchmarks of this source, each time in fresh processes.
"""

from __future__ import annotations

import io
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from benchmarks.measure import ROOT, SOURCE
from benchmarks.side import results
from benchmarks.side.results import spread
from benchmarks.side.runner import say
from benchmarks.side.workload import LESS, Workload
from benchmarks.side.workloads import WORKLOADS

CORE = ("commit", "commit_synced", "load", "cold", "start", "hot", "look", "own", "growth", "oo7")
SIZES = {"own": 2, "growth": 10_000, "start": 10_000}
"""Where not the first size of a workload is taken."""

PACKAGE = "dobbin_like"


def unpack(revision: str, target: Path) -> None:
    """Write the package as it is in a revision, beside the benchmarks of this source.

    Raises subprocess.CalledProcessError: There is no such revision, or git is not there.
    """
    command = ["git", "-C", str(ROOT), "archive", revision, PACKAGE]
    archive = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as file:
        file.extractall(target, filter="data")
    (target / "benchmarks").symlink_to(ROOT / "benchmarks")


def measure(
    workload: Workload, size: int, source: Path, place: Path, stores: str
) -> dict[str, float]:
    """Return what one repetition gives, with the package of *source* and *stores* of its own.

    All of it is done by other processes: they must not find that of this one.
    """
    found = place / "found.json"
    found.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks", f"side.{workload.name}", "--peers", "ours"]
    command += ["--rounds", "1", "--json", str(found), "--stores", str(place / stores)]
    if workload.size_is:
        command += ["--sizes", f"{workload.size_is}={size}"]
    done = subprocess.run(
        command,
        cwd=place,
        env={**os.environ, SOURCE: str(source), "PYTHONPATH": str(source)},
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    samples = results.read(found)["side"][workload.name][str(size)]["samples"]["ours"]
    return {name: values[0] for name, values in samples.items()}


def compare(revision: str, *, rounds: int, only: list[str]) -> None:
    """Print, for each workload, the medians of both, and how many times as long it takes here."""
    wanted = [
        each
        for each in WORKLOADS
        if (each.name in only if only else each.name in CORE) or f"side.{each.name}" in only
    ]
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        there = Path(directory, "source")
        there.mkdir()
        unpack(revision, there)
        print(f"{'':46}{'here':>12}{revision[:10]:>12}  here by {revision[:10]}")
        for workload in wanted:
            _compare(workload, rounds, {"here": ROOT, "there": there}, Path(directory))


def _compare(workload: Workload, rounds: int, sources: dict[str, Path], place: Path) -> None:
    size = SIZES.get(workload.name, workload.sizes[0])
    samples: dict[str, dict[str, list[float]]] = {name: {} for name in sources}
    for number in range(rounds):
        say(f"{workload.name}, {number + 1} of {rounds}")
        names = list(sources)
        for name in names if number % 2 else reversed(names):
            for figure, value in measure(workload, size, sources[name], place, name).items():
                samples[name].setdefault(figure, []).append(value)
    for figure in workload.figures:
        here, there = (samples[name][figure.name] for name in sources)
        if not all(there) or figure.name in ("fair", "wasted"):
            continue
        ratios = [a / b for a, b in zip(here, there, strict=True)]
        ratio = statistics.median(ratios)
        better_by = 1 - ratio if figure.better == LESS else ratio - 1
        what = f"{workload.name}: {figure.title}"
        print(
            f"{what[:45]:46}{statistics.median(here):12.4g}{statistics.median(there):12.4g}"
            f"  {ratio:.2f} (+-{spread(ratios) / 2:.0%}) {figure.unit}"
            + ("  worse" if better_by < -spread(ratios) / 2 else ""),
            flush=True,
        )
