"""``python -m benchmarks``: all figures, some, or those of two revisions; see README.rst."""

from __future__ import annotations

import argparse
import importlib
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measure import Bench, heading, table
from benchmarks.side import results, runner
from benchmarks.side.workload import IS_FREE_THREADED
from benchmarks.side.workloads import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

THEMES = tuple(
    f"bench_{name}"
    for name in (
        "read collections memory begin commit bulk btree indexes processes open life pack safe "
        "users writers together streams oo7 exchange ways"
    ).split()
)


def measurements() -> Iterator[tuple[str, Callable[[Bench], None]]]:
    """Yield what stands beside a reference: names, and what measures."""
    for theme in THEMES:
        for measurement in importlib.import_module(f"benchmarks.{theme}").ALL:
            yield f"{theme}.{measurement.__name__}", measurement


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure the store; see benchmarks/README.rst."
    )
    parser.add_argument("words", nargs="*", help="measure what has one of these in its name")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="the same")
    parser.add_argument("--list", action="store_true", help="tell what there is, measure nothing")
    parser.add_argument("--quick", action="store_true", help="a tenth of the time, more noise")
    parser.add_argument("--smallest", action="store_true", help="only see whether all works")
    parser.add_argument("--directory", help="where to put the files; a temporary one if not given")
    parser.add_argument("--json", type=Path, metavar="FILE", help="add what is found to this file")
    side = parser.add_argument_group("side by side")
    side.add_argument(
        "--sizes",
        nargs="+",
        type=_sizes,
        default=[],
        metavar="WHAT=N,N",
        help="in these sizes: objects=1000,10000 threads=2",
    )
    side.add_argument("--rounds", type=int, metavar="N", help="so many repetitions")
    side.add_argument("--seconds", type=float, metavar="N", help="for so long in each")
    side.add_argument(
        "--add", action="store_true", help="to what --json has of them; else it is replaced"
    )
    side.add_argument(
        "--stores", type=Path, metavar="DIR", help="where to keep stores for further runs"
    )
    side.add_argument(
        "--again", type=int, default=2, metavar="N", help="repeat what was disturbed so often"
    )
    side.add_argument("--peers", type=_words, metavar="NAME,NAME", help="these peers only")
    parser.add_argument(
        "--compare", metavar="REV", help="this source beside that of a revision of git"
    )
    parser.add_argument(
        "--page", type=Path, metavar="DIR", help="write the page of what --json has, in DIR"
    )
    return parser.parse_args(arguments)


def _sizes(text: str) -> tuple[str, tuple[int, ...]]:
    what, _, numbers = text.partition("=")
    return what, tuple(int(number.replace("_", "")) for number in numbers.split(","))


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def main(arguments: list[str] | None = None) -> None:
    """Do what the command line says."""
    options = _parse(arguments)
    words = [*options.words, *options.only]
    names = {f"side.{each.name}" for each in WORKLOADS}

    def is_wanted(name: str) -> bool:
        if not words or name in words:
            return True
        return any(word in name for word in words if word not in names)

    if options.compare:
        from benchmarks.compare import compare

        compare(options.compare, rounds=options.rounds or 5, only=words)
    elif options.page:
        from benchmarks.side.page import publish

        publish(results.read(options.json), options.page)
    elif options.list:
        _tell(is_wanted)
    else:
        print(heading(), flush=True)
        _measure_side(options, is_wanted)
        if not words or set(words) - names:
            _measure_themes(options, is_wanted)


def _tell(is_wanted: Callable[[str], bool]) -> None:
    for workload in WORKLOADS:
        if is_wanted(f"side.{workload.name}"):
            sizes = ", ".join(f"{size:,}" for size in workload.sizes if size)
            print(f"side.{workload.name}  {workload.title}" + (f" ({sizes})" if sizes else ""))
    for name, measurement in measurements():
        if is_wanted(name):
            first, *_ = (measurement.__doc__ or "").splitlines()
            print(f"{name}  {first}")


def _measure_side(options: argparse.Namespace, is_wanted: Callable[[str], bool]) -> None:
    quick = runner.SMALLEST if options.smallest else runner.QUICK if options.quick else None
    how = runner.Options(
        options.directory,
        options.stores,
        dict(options.sizes) or (quick.sizes if quick else None),
        options.rounds or (quick.rounds if quick else None),
        options.seconds or (quick.seconds if quick else None),
        options.peers,
        quick.again if quick else options.again,
    )
    if options.smallest:
        os.environ["OO7_SIZE"] = "tiny"
    wanted = [
        each
        for each in WORKLOADS
        if is_wanted(f"side.{each.name}") and each.free_threaded == IS_FREE_THREADED
    ]
    for number, workload in enumerate(wanted, 1):
        runner.say(f"[{number} of {len(wanted)}] side.{workload.name}")
        found = runner.run(workload, how)
        print(*runner.lines(workload, found), sep="\n", flush=True)
        _keep(options, "side", workload.name, found)


def _measure_themes(options: argparse.Namespace, is_wanted: Callable[[str], bool]) -> None:
    wanted = [(name, function) for name, function in measurements() if is_wanted(name)]
    if not wanted:
        return
    with Bench(
        quick=options.quick, smallest=options.smallest, directory=options.directory
    ) as bench:
        for number, (name, measurement) in enumerate(wanted, 1):
            runner.say(f"[{number} of {len(wanted)}] {name}")
            before = len(bench.rows)
            measurement(bench)
            _keep(options, "rows", name, [asdict(row) for row in bench.rows[before:]])
        print("\n" + table(bench.rows))


def _keep(options: argparse.Namespace, kind: str, name: str, found: Any) -> None:
    """Add something to the file, if there is one: sizes that are measured anew are replaced."""
    if options.json is None:
        return
    kept = results.read(options.json)
    kept["machine"] = results.machine(Path(options.directory or "."))
    before = kept[kind].get(name, {})
    if kind == "side":
        found = results.added(before, found) if options.add else {**before, **found}
    kept[kind][name] = found
    results.write(options.json, kept)


# The guard is for the processes that are started: they import this module again.
if __name__ == "__main__":
    main()
