"""Processes that tests start end with them, however they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from tests.helpers.processes import (
    ROOT,
    TIMEOUT_SECONDS,
    exit_code,
    forked,
    in_child,
    none_is_left,
    python_path,
    run,
    start,
)

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="others can't tell a child")


def is_running(process: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(process, 0)
        return True
    return False


def wait_for_the_end(process: int) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while is_running(process):
        assert time.monotonic() < deadline, "it goes on"
        time.sleep(0.005)


def test_a_child_ends_where_its_function_does() -> None:
    assert exit_code(forked(lambda: None)) == 0


def test_a_child_whose_function_fails_ends_there_and_tells_why(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def fail() -> None:
        raise KeyError("why")

    assert exit_code(forked(fail)) == 1
    assert "KeyError: 'why'" in capfd.readouterr().err


def test_what_a_child_returns_or_raises_is_told() -> None:
    assert in_child(lambda: [1, 2]) == [1, 2]
    assert isinstance(in_child(lambda: 1 // 0), ZeroDivisionError)


def test_a_program_runs_as_if_it_was_started_directly() -> None:
    done = run(["sh", "-c", 'echo "$0 $WORD"; exit 3', "a b"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (3, f"a b {os.environ.get('WORD', '')}\n")

    with pytest.raises(subprocess.CalledProcessError):
        run(["false"], check=True)


def test_a_block_that_leaves_no_process_is_no_error() -> None:
    with none_is_left():
        assert exit_code(forked(lambda: None)) == 0
        run(["true"])


@on_linux
def test_what_was_left_is_killed_with_its_children_and_told() -> None:
    with pytest.raises(AssertionError, match="left running"), none_is_left():  # noqa: PT012
        process = start(["sh", "-c", "sleep 1000 & echo $!; wait"], stdout=subprocess.PIPE)
        assert process.stdout is not None
        with process.stdout:
            child = int(process.stdout.readline())
        process.returncode = 0  # Nobody is going to ask for it.

    wait_for_the_end(child)
    assert not is_running(process.pid)


@on_linux
def test_the_child_of_a_child_that_has_died_is_found() -> None:
    told, tells = os.pipe()

    def child() -> None:
        os.write(tells, b"%d" % os.posix_spawnp("sleep", ["sleep", "1000"], os.environ))

    with pytest.raises(AssertionError, match="sleep 1000"), none_is_left():
        assert exit_code(forked(child)) == 0
    wait_for_the_end(int(os.read(told, 20)))
    os.close(told)
    os.close(tells)


PROGRAM = """
import os, signal, subprocess, sys
from tests.helpers import processes

processes.bound_to_their_parent()
print(processes.forked(signal.pause))
print(processes.start(["sleep", "1000"]).pid, flush=True)
signal.pause()
"""


@on_linux
def test_they_end_when_the_tests_themselves_are_killed() -> None:
    with start(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, env=python_path(), stdout=subprocess.PIPE
    ) as process:
        children = [int(process.stdout.readline()) for _ in range(2)]
        assert all(map(is_running, children))
        process.send_signal(signal.SIGKILL)

    for child in children:
        with suppress(ChildProcessError):  # It was left to this process, or to another one.
            os.waitpid(child, 0)
        wait_for_the_end(child)
