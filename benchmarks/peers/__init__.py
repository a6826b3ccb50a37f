"""Stores that do the same work, each in a module of its own, so that it is all that is imported.

A module imports little beside its store: how long Python takes to start is measured too. Each
has a ``Thing``, which is an object as users have them (two numbers, a text and a list of
references to others), and a ``Store`` with the same methods::

    Store(path, sync=False)    open it, or make it
    one(references)            commit one thing that has so many others in its list; none: no
                               list and no text, just two numbers
    change(times)              commits of one attribute of that thing, from begin() to commit()
    fill(count)                make and commit so many things, a thousand to a transaction
    read()                     visit all of them, return the sum of their first numbers
    first()                    the first attribute of the root
    close()

``ours`` stands beside ``zodb``, ``durus`` and ``sqlite``; ``floor`` can only change. Not synced
means the same everywhere: the operating system has it, and nobody waits for the disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PER_TRANSACTION = 1000
REFERENCES = 5
"""Of the one thing that is changed; those of many have 0 to 10."""


def text_of(number: int) -> str:
    """Return the text that a thing has."""
    return f"this is what is said of thing number {number}"


def how_many(number: int) -> int:
    """Return how many others a thing refers to: those that were made before it."""
    return min(number, number % 11)


def make(thing: Callable[[int, list[Any]], Any], count: int) -> Iterator[list[Any]]:
    """Yield lists of new things, a thousand in each."""
    last: list[Any] = []
    for start in range(0, count, PER_TRANSACTION):
        made = []
        for number in range(start, min(start + PER_TRANSACTION, count)):
            references = how_many(number)
            new = thing(number, last[-references:] if references else [])
            last = [*last[-9:], new]
            made.append(new)
        yield made
