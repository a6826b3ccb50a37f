"""Plain assertions, and threads that raise theirs in the test.

Assertions are calls, so that they also work under ``python -O``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

WAIT_SECONDS = 60.0
"""How long a test waits for its threads before it fails. No result depends on it."""


def equal(found: Any, expected: Any, what: str = "") -> None:
    """Fail unless *found* is equal to *expected*."""
    if found != expected:
        text = f"{what}: " if what else ""
        text += f"found {found!r}, expected {expected!r}"
        raise AssertionError(text)


def raises(kind: type[BaseException], use: Callable[..., Any], *args: Any) -> None:
    """Fail unless the call of *use* raises an error of this kind."""
    try:
        use(*args)
    except kind:
        return
    text = f"nothing was raised, expected {kind.__name__}"
    raise AssertionError(text)


def in_threads(*functions: Callable[[], Any]) -> list[Any]:
    """Run each function in its own thread, at the same time; return their results.

    An exception of one of them is raised here, and an AssertionError if one does not end.
    """
    results: list[Any] = [None] * len(functions)
    errors: list[BaseException] = []

    def run(number: int, function: Callable[[], Any]) -> None:
        try:
            results[number] = function()
        except BaseException as error:  # noqa: BLE001  raised below
            errors.append(error)

    threads = [
        threading.Thread(target=run, args=item, daemon=True) for item in enumerate(functions)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_SECONDS)
    if errors:
        raise errors[0]
    equal([thread.is_alive() for thread in threads].count(True), 0, "threads that did not end")
    return results


def in_thread(function: Callable[[], Any]) -> Any:
    """Run *function* in its own thread; return its result, or raise its exception."""
    return in_threads(function)[0]
