"""Processes that count up in a log, and print what was acknowledged."""

from __future__ import annotations

import sys

from tests.helpers.processes import python_path, start

COUNT = """
import sys
import dobbin_like
from dobbin_like import checkout
from dobbin_like.exc import Error
from transaction.interfaces import TransientError

uri, name = sys.argv[1:]
with dobbin_like.open(uri) as database:
    for number in range(int(sys.stdin.readline())):
        def more():
            checkout(database.root)
            database.root[name] = number + 1
            database.root["all"] += 1
        database.run(more)
        print(number + 1, flush=True)
"""


CLOCK = """
import time
right = time.time_ns
time.time_ns = lambda: right() + {ahead} * 10**9
"""


def counting(uri, name, times, *, ahead=0):
    """Start a process that counts up, and prints what is acknowledged.

    Its clock is so many seconds ahead.
    """
    command = [sys.executable, "-c", CLOCK.format(ahead=ahead) + COUNT, uri, name]
    process = start(command, env=python_path(), stdin=-1, stdout=-1, stderr=-1, text=True)
    process.stdin.write(f"{times}\n")
    process.stdin.flush()
    return process


def counted(processes):
    """Wait for processes that count; return what they have told at last."""
    told = []
    for process in processes:
        with process:
            # communicate() would lose what readline() has read ahead.
            out, err = process.stdout.read(), process.stderr.read()
        assert process.returncode == 0, err
        told.append(int(out.split()[-1]))
    return told
