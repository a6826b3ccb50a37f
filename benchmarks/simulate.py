"""Long runs of the simulation: processes, disks and power cuts, with the log as it is.

    python -m benchmarks.simulate --images 100000 --seed 1
    python -m benchmarks.simulate --mutants --runs 400

The first says which promises are broken, by which seeds; the second, which mutations of the log
are found, after how many runs. A seed is run again by ``dobbin_like.testing.simulate(seed)``.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import sys
import time

from benchmarks.mutants import MUTANTS
from dobbin_like.testing.mutation import Mutant, mutated
from dobbin_like.testing.simulation import KINDS, kinds_of, simulate

_EVERY_SECONDS = 10.0


def run(images: int, seed: int) -> int:
    """Simulate until so many images were judged; return the number of faults."""
    began = told = time.monotonic()
    total: collections.Counter[str] = collections.Counter()
    done: collections.Counter[str] = collections.Counter()
    for number in itertools.count(seed):
        outcome = simulate(number)
        total.update(runs=1, images=outcome.images, events=outcome.events, calls=outcome.calls)
        done.update(outcome.done)
        if outcome.fault:
            total.update(faults=1)
            print(f"seed {number} ({' '.join(sorted(outcome.kinds))}): {outcome.fault}")
        now = time.monotonic()
        if now - told > _EVERY_SECONDS or total["images"] >= images:
            told = now
            figures = ", ".join(f"{count:,} {what}" for what, count in total.items())
            print(f"{figures}; {now - began:.0f} s", flush=True)
        if total["images"] >= images:
            break
    print(", ".join(f"{count:,} {what}" for what, count in sorted(done.items())))
    return total["faults"]


def find(mutant: Mutant, most: int, seed: int) -> tuple[str, int]:
    """Return how a mutant was found in so many runs, empty if it was not, and the runs it took."""
    runs = 0
    with mutated(mutant):
        for number in itertools.count(seed):
            runs += 1
            kinds = kinds_of(number)
            if mutant.kinds and runs % 4:
                # Three of four: what it takes, and little else.
                kinds = frozenset(mutant.kinds.split()) | (kinds & {"threads", "streams"})
            # Images cost most of the time; what runs at the same moment finds much without them.
            share = 0.15 if runs % 3 == 0 else 0.02
            fault = simulate(number, kinds=kinds, share=share).fault
            if fault or runs == most:
                return fault, runs
    raise AssertionError


def run_mutants(names: list[str], most: int, seed: int) -> int:
    """Look for each mutant; return the number of those that were not found."""
    chosen = [mutant for mutant in MUTANTS if not names or mutant.name in names]
    missed = 0
    for mutant in chosen:
        began = time.monotonic()
        fault, runs = find(mutant, most, seed)
        missed += not fault
        found = f"found: {fault[:60]}" if fault else "NOT FOUND"
        print(f"{mutant.name:48} {runs:4} runs {time.monotonic() - began:5.1f} s {found}")
        sys.stdout.flush()
    print(f"{len(chosen) - missed} of {len(chosen)} mutants found")
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mutants", nargs="*", metavar="NAME")
    parser.add_argument("--runs", type=int, default=400, help="for each mutant, at the most")
    arguments = parser.parse_args()
    assert KINDS
    if arguments.mutants is not None:
        return run_mutants(arguments.mutants, arguments.runs, arguments.seed)
    return run(arguments.images, arguments.seed)


if __name__ == "__main__":
    sys.exit(min(main(), 1))
