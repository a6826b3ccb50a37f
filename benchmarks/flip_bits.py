"""Every bit of a log flipped, one at a time: what is read is right, or an error says why not.

::

    python -m benchmarks.flip_bits                # each bit of a log of 100 KB
    python -m benchmarks.flip_bits --seconds 60   # bits by chance, for a minute

Prints how often all was read, how often a part was and an error told the rest, and how often the
log could not be opened. There must be no bit by which something wrong is read, and none that
makes reading last longer than a minute.
"""

from __future__ import annotations

import argparse
import collections
import io
import logging
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from dobbin_like.exc import LogError
from dobbin_like.ids import Oid, Tid
from dobbin_like.log import TransactionLog
from dobbin_like.log.format.header import PAGE_SIZE, WORD_COUNT, WORD_SIZE, WORDS_OFFSET
from dobbin_like.log.format.saved import BLOCK_SLOTS

SIZE = 100_000
HANG_SECONDS = 60


def fill(path: Path) -> list[int]:
    """Write a log with frames of all kinds; return the keys of its streams."""
    chance = random.Random(1)
    keys = []
    with TransactionLog(path, sync=False) as log:
        for number in range(1, 1000):
            log.acquire()
            log.apply(log.read_news())
            if number % 3 == 0:
                log._writing.writer.save()
                keys.append(log.write_stream(io.BytesIO(chance.randbytes(1000)))[0])
            names = [(1, "shop", "Cart")] if number == 1 else []
            entries = [
                (Oid(oid), 1, chance.randbytes(chance.randrange(10, 6000)))
                # In two blocks of saved positions.
                for oid in sorted({0, number // 3, BLOCK_SLOTS + number // 2})
            ]
            log.append(Tid(log.last_tid + 1), entries, names, user="ann", description=f"{number}")
            if number % 3 == 0:
                log.fail(Tid(log.last_tid + 1), "conflict", oids=[Oid(0)])
            log.release()
            if path.stat().st_size > SIZE:
                break
    return keys


def or_error(function: Any, *arguments: Any) -> Any:
    """Return what *function* does, None if it tells an error."""
    try:
        return function(*arguments)
    except LogError:
        return None


def read(path: Path, keys: list[int], *, read_only: bool) -> list[Any]:
    """Return all that a program can read, by itself; None where an error is told."""
    with TransactionLog(path, read_only=read_only) as log:
        found: list[Any] = [len(log)]
        transactions = log.transactions()
        for _ in range(len(log)):
            made = or_error(next, transactions, "fewer than there are")
            found.append(made and (made, or_error(list, log.entries(made))))
            if made is None:
                break
        found.extend([None] * (len(log) + 1 - len(found)))
        found.extend(or_error(log.load, Oid(oid)) for oid in range(log.next_oid))
        for key in keys:
            size = or_error(log.stream_size, key)
            found.append(None if size is None else or_error(log.read_stream, key, 0, size))
        return found


def outcome(path: Path, data: bytes, keys: list[int], expected: list[Any], bit: int) -> str:
    """Say what reading gives when *bit* of *data* is flipped."""
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    path.write_bytes(damaged)
    # Who opens it for writing recovers; once for each byte.
    read_only = bit % 8 != bit // 8 % 8
    signal.alarm(HANG_SECONDS)
    try:
        found = read(path, keys, read_only=read_only)
    except LogError:
        return "not opened"
    except TimeoutError:
        return f"HANG at bit {bit}"
    except Exception as error:  # Of no kind that is documented.
        return f"{type(error).__name__} at bit {bit}: {error}"
    finally:
        signal.alarm(0)
    if found == expected:
        return "all was read"
    same = len(found) == len(expected) and all(
        is_same_or_error(one, other) for one, other in zip(found, expected, strict=True)
    )
    return "a part was read" if same else f"WRONG at bit {bit}"


def is_same_or_error(found: Any, expected: Any) -> bool:
    """Return whether it is what was expected, or an error was told, for it or its entries."""
    return (
        found is None
        or found == expected
        or (isinstance(found, tuple) and found[1] is None and found[0] == expected[0])
    )


def hang(*_: Any) -> None:
    """Be told by the alarm."""
    raise TimeoutError


def work(
    folder: str, data: bytes, keys: list[int], expected: list[Any], bits: list[int]
) -> collections.Counter[str]:
    """Flip some bits; count what comes of it."""
    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGALRM, hang)
    path = Path(folder) / f"{os.getpid()}.log"
    return collections.Counter(outcome(path, data, keys, expected, bit) for bit in bits)


def main() -> int:
    """Flip, print, and return 1 if something wrong was read."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=float("inf"), help="end after these")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "whole.log"
        keys = fill(path)
        expected = read(path, keys, read_only=True)
        data = path.read_bytes()
        start = WORDS_OFFSET + WORD_COUNT * WORD_SIZE  # Nothing is between that and the frames.
        bits = [*range(start * 8), *range(PAGE_SIZE * 8, len(data) * 8)]
        random.Random(2).shuffle(bits)
        pieces = [bits[at : at + 500] for at in range(0, len(bits), 500)]
        total: collections.Counter[str] = collections.Counter()
        end = time.monotonic() + options.seconds
        with multiprocessing.Pool(options.processes) as pool:
            job = partial(work, folder, data, keys, expected)
            for counted in pool.imap_unordered(job, pieces):
                total += counted
                if time.monotonic() > end:
                    break
    done = sum(total.values())
    print(f"{done:,} of {len(bits):,} bits of {len(data):,} bytes, {expected[0]} transactions")
    for what, count in total.most_common():
        print(f"{count:9,}  {what}")
    return int(any(what.startswith(("WRONG", "HANG")) or " at bit" in what for what in total))


if __name__ == "__main__":
    sys.exit(main())
