"""Stores that do the same work, each in a module of its own, so that it is all that is imported.

A module imports little beside its store: how long Python takes to start is measured too. Each
has a ``Thing``, which is an object as users have them (two numbers, a text and a list of
references to others), and a ``Store`` with the same methods::

    Store(path, sync=False)    open it, or make it
    one(references)            commit one thing that has so many others in its list; none: no
                               list and no text, just two numbers
    change(times)              commits of one attribute of that thing, from begin() to commit()
    fill(count)                make and commit so many things, a thousand to a transaction
    read()                     get to each of them, return the sum of their first numbers
    everything()               all of them, as objects with their attributes and references, in
                               the way that is the quickest
    first()                    the first attribute of the root
    close()

What several threads or processes do, is done to one of the things of ``fill()``::

    pick(index)                the thing that all this is about, and change() as well
    get()                      the first number in a transaction that sees all that is committed
    put(number)                a transaction that writes it
    add()                      one that reads it and writes one more, repeated until it succeeds;
                               returns how often it was tried
    another()                  a store for the calling thread, in the database of this one

A stream of bytes, in stores that have something for it::

    open_streams()             make ready for them, which is not measured
    store_stream(file)         commit what can be read from the file
    read_stream()              yield its blocks

Where a store needs a server, its module has a ``serve(path, sync)`` that runs it. ``registry``
knows them all. Not synced means the same everywhere: the operating system has it, and nobody
waits for the disk. Synced means that a commit that has returned survives a power cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PER_TRANSACTION = 1000
ATTEMPTS = 10_000
"""More than anybody needs; ``add()`` gives up after them."""
BLOCK = 1 << 20
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
