"""What runs in each child that is forked."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from dobbin_like.processes.children import in_children
from tests.helpers.processes import in_child

runs: list[str] = []
refusals: list[BaseException] = []


def start() -> None:
    if refusals:
        runs.append("refused")
        raise refusals.pop()
    runs.append("started")


in_children(start)


@contextmanager
def lost_errors() -> Iterator[list[type[BaseException]]]:
    """Note what is raised in hooks, which the interpreter only reports."""
    found: list[type[BaseException]] = []
    before = sys.unraisablehook
    sys.unraisablehook = lambda told: found.append(told.exc_type)
    try:
        yield found
    finally:
        sys.unraisablehook = before


def told_by_child() -> Any:
    runs.clear()
    with lost_errors() as found:
        told = in_child(lambda: (os.getpid(), list(runs), found))
    assert told[0] != os.getpid()
    return told[1:]


def test_a_child_starts_once() -> None:
    assert told_by_child() == (["started"], [])


def test_a_child_of_a_child_starts_once_more() -> None:
    runs.clear()
    assert in_child(lambda: in_child(lambda: list(runs))) == ["started", "started"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), TimeoutError(), SystemExit()])
def test_a_start_that_is_interrupted_is_run_again(error: BaseException) -> None:
    refusals.append(error)
    try:
        assert told_by_child() == (["refused", "started"], [type(error)])
    finally:
        refusals.clear()


def test_a_start_that_always_fails_ends_all_the_same() -> None:
    refusals.extend([OSError(), OSError(), OSError()])
    try:
        assert told_by_child() == (["refused", "refused"], [OSError, OSError])
    finally:
        refusals.clear()
