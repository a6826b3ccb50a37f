"""Threads that the package starts for itself."""

from __future__ import annotations

import subprocess
import sys
import threading

from dobbin_like.processes.threads import start_thread
from tests.helpers.processes import python_path, run

PROGRAM = """
import threading
from dobbin_like.processes.threads import start_thread

class Late:
    def __del__(self, start=start_thread, make=threading.Thread):
        print(start(make(target=print)))

late = Late()
late.itself = late  # Found by the collector, when the modules are taken down.
"""


def test_a_thread_is_started() -> None:
    ran = threading.Event()
    thread = threading.Thread(target=ran.set)
    assert start_thread(thread)
    thread.join()
    assert ran.is_set()


def test_a_thread_that_cannot_start_is_told() -> None:
    thread = threading.Thread(target=print)
    thread.start()
    thread.join()
    assert not start_thread(thread)


def test_no_thread_is_started_when_the_interpreter_ends() -> None:
    done = run(
        [sys.executable, "-c", PROGRAM], env=python_path(), stdout=subprocess.PIPE, timeout=60
    )
    assert done.stdout == b"False\n"
