"""Running the suite without a test runner."""

from __future__ import annotations

import unittest
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dobbin_like.conformance.harness import Harness


class Outcome(NamedTuple):
    """The result of one test, with the error if it failed, or the reason if it was skipped."""

    test: str
    error: Exception | None
    skipped: str


def run(tests: type[Harness]) -> Iterator[Outcome]:
    """Run all tests of a class, in the order of their names; yield the result of each.

    ::

        failed = [outcome for outcome in run(MyStorageTests) if outcome.error]

    An interrupt, and any other exception that is not an ``Exception``, ends the run.
    """
    for name in sorted(dir(tests)):
        if name.startswith("test_"):
            yield _run_one(tests(), name)


def _run_one(case: Harness, name: str) -> Outcome:
    try:
        case.setup_method()
        try:
            getattr(case, name)()
        finally:
            case.teardown_method()
    except unittest.SkipTest as skip:
        return Outcome(name, None, str(skip))
    except Exception as error:  # noqa: BLE001  it is what the caller asks for
        return Outcome(name, error, "")
    return Outcome(name, None, "")
