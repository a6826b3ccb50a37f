"""Processes that end with the test that starts them, however it ends.

Three things see to that:

* Where Linux allows it, a process is killed when the one that has started it is gone:
  ``bound_to_their_parent()`` says so in each forked child, and ``start()`` and ``run()`` in
  each other program.
* A forked child that comes to the end of its function, or is left by an exception, ends there:
  it never goes on with the tests of its parent.
* What is running at the end of a test is killed, and told: ``none_is_left()``.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import traceback
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = Path(__file__).with_name("launcher.py")
TIMEOUT_SECONDS = 120
GRACE_SECONDS = 2  # A process that was killed or told to end needs a moment.

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

_on_linux = sys.platform == "linux"
_prctl = ctypes.CDLL(None).prctl if _on_linux else None
_started: set[int] = set()
_shared: set[int] = set()


# -- starting them ------------------------------------------------------------------------


def start(command: Any, **options: Any) -> subprocess.Popen[Any]:
    """Start a program, as ``subprocess.Popen()`` does."""
    process = subprocess.Popen([*_launcher(), *map(os.fspath, command)], **options)
    _started.add(process.pid)
    return process


@contextmanager
def dobbin(*args: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Start the command dobbin, and kill it at the end of the block if it goes on."""
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    with start([sys.executable, "-m", "dobbin_like", *args], env=python_path(), **pipes) as made:
        try:
            yield made
        finally:
            made.kill()


def run(
    command: Any, *, check: bool = False, timeout: float = TIMEOUT_SECONDS, **options: Any
) -> subprocess.CompletedProcess[Any]:
    """Run a program to its end, as ``subprocess.run()`` does."""
    command = [*_launcher(), *map(os.fspath, command)]
    return subprocess.run(command, check=check, timeout=timeout, **options)


def _launcher() -> list[str]:
    # Without what a program may do at its start, and without its modules: it is left at once.
    return [sys.executable, "-IS", str(LAUNCHER), str(os.getpid())] if _on_linux else []


def python_path(**more: str) -> dict[str, str]:
    """Return an environment in which a Python finds the package, the benchmarks and the tests."""
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def forked(function: Callable[[], object]) -> int:
    """Fork a child that runs *function* and ends with 0 if it comes to its end; return its id."""
    child = os.fork()
    if not child:
        end_after(function)
    _started.add(child)
    return child


def forked_in_c(function: Callable[[], object]) -> int:
    """Fork as a server in C does, which runs no hooks; return the exit code of the child.

    If another thread of this process, one of pytest's for instance, waits for the interpreter
    lock at that moment, its condition variable is of no use in the child, where the first
    thread to be started hangs. Such a child is given up before it has done anything.
    """
    while True:
        child: int = ctypes.PyDLL(None).fork()
        if not child:
            _end_if_threads_hang()
            end_after(function)
        code = exit_code(child)
        if code != -signal.SIGALRM:
            return code


def _end_if_threads_hang() -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(5)
    for _ in range(10):
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()
    signal.alarm(0)


def end_after(function: Callable[[], object]) -> NoReturn:
    """End this child of a fork after *function*: with 0 if that comes to its end."""
    code = 1
    try:
        function()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def exit_code(child: int) -> int:
    """Wait for a forked child; return its exit code, or the negative number of a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def in_child(function: Callable[[], Any]) -> Any:
    """Run *function* in a forked child; return what it returns, or what it raised."""
    reader, writer = os.pipe()

    def child() -> None:
        try:
            result: Any = function()
        except BaseException as error:
            result = error
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(pickle.dumps(result))

    process = forked(child)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        data = pipe.read()
    os.waitpid(process, 0)
    return pickle.loads(data)


# -- ending them --------------------------------------------------------------------------


def bound_to_their_parent() -> None:
    """From now on, let no child of this process outlive it, and no grandchild be lost."""
    if _prctl is not None:
        _prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        os.register_at_fork(before=_note_parent, after_in_child=_die_with_noted_parent)


_parents_of_forks = [0]
"""The process that forks, for the child: it may be gone before the child asks to be told so."""


def _note_parent() -> None:
    _parents_of_forks[0] = os.getpid()


def _die_with_noted_parent() -> None:
    die_with_parent()
    if os.getppid() != _parents_of_forks[0]:
        os.kill(os.getpid(), signal.SIGKILL)


def die_with_parent() -> None:
    """Let this process be killed when its parent is gone; a forked one need not say so."""
    assert _prctl is not None
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def outlive_parent() -> None:
    """Let this process go on when its parent is gone."""
    if _prctl is not None:
        _prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0)


def shared(*processes: Any) -> None:
    """Leave processes to the fixture that has started them for more than one test."""
    _shared.update(process.pid for process in processes)


@contextmanager
def none_is_left() -> Iterator[None]:
    """Kill what is running at the end of the block and was not before; raise if there was any."""
    before = set(_children())
    try:
        yield
    finally:
        left = _end(before)
    if left:
        text = f"processes were left running, and killed: {left}"
        raise AssertionError(text)


def _end(before: set[int]) -> list[str]:
    _started.clear()
    deadline = time.monotonic() + GRACE_SECONDS
    while new := _children() - before - _of_the_library() - _shared:
        multiprocessing.active_children()  # It takes leave of those that have ended.
        running = [child for child in new if not _has_ended(child)]
        if running and time.monotonic() > deadline:
            told = [f"{child} {_command(child)}" for child in running]
            for child in running:
                _kill(child)
            return told
        time.sleep(0.001 if running else 0)
    return []


def _of_the_library() -> set[int]:
    """Return the helpers of multiprocessing, which stay."""
    return {pid for pid in (getattr(resource_tracker._resource_tracker, "_pid", None),) if pid}


def _children() -> set[int]:
    """Return the children of this process, those that have ended included."""
    if not _on_linux:
        return set(_started)
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:  # The usual case, which costs nothing.
        return set()
    return children_of(os.getpid())


def children_of(process: int) -> set[int]:
    """Return the children of a process. On Linux."""
    return {pid for pid, parent in _parents() if parent == process}


def _parents() -> Iterator[tuple[int, int]]:
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            with suppress(OSError):
                stat = Path(entry.path, "stat").read_text(encoding="utf-8", errors="replace")
                yield int(entry.name), int(stat.rpartition(")")[2].split()[1])


def _has_ended(child: int) -> bool:
    try:
        return os.waitpid(child, os.WNOHANG)[0] == child
    except ChildProcessError:
        return True


def _command(child: int) -> str:
    try:
        words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    return b" ".join(words).decode(errors="replace")[:200]


def _kill(child: int) -> None:
    """Kill a process and all that descend from it."""
    children: dict[int, list[int]] = {}
    if _on_linux:
        for pid, parent in _parents():
            children.setdefault(parent, []).append(pid)
    doomed = [child]
    for pid in doomed:
        doomed += children.get(pid, [])
    for pid in doomed:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    for pid in doomed:  # Each has become a child of this process when the one before has ended.
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)
