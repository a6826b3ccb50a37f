"""One file, one transaction: how the facts of a file are added to the graph.

Nothing assigns files to workers. Each worker begins with its own share, and then helps with the
shares of the others, from their ends. If two workers store the same file, the first to commit has
done it, and the second one gets a conflict. So a killed worker holds nothing up.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING, Final

import transaction

from dobbin_like.demo.model import Library
from dobbin_like.demo.parse import BUILTINS, source_files
from dobbin_like.persistent import checkout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dobbin_like.database import Database
    from dobbin_like.demo.parse import ModuleFacts

ATTEMPTS: Final = 1000
"""Per transaction. One of several in conflict always succeeds, so this limit is never reached."""


def prepare(database: Database, source: Path) -> Library:
    """Return the root; if there is none, set one that lists the files of *source*."""
    for attempt in transaction.manager.attempts(ATTEMPTS):
        with attempt as current:
            if database.get_root() is None:
                current.note("the list of files")
                files = {BUILTINS: "", **source_files(source)}
                database.set_root(Library(str(source), platform.python_version(), files))
    return database.get_root()  # type: ignore[no-any-return]


def shares(names: list[str], number: int, count: int) -> Iterator[str]:
    """Yield all *names* in the order in which worker *number* of *count* goes through them."""
    yield from names[number::count]
    for other in range(1, count):
        yield from reversed(names[(number + other) % count :: count])


def is_stored(library: Library, name: str) -> bool:
    """Return whether the file of the module *name* is in the graph."""
    module = library.modules.get(name)
    return module is not None and module.is_parsed


def store(library: Library, facts: ModuleFacts, user: str) -> bool:
    """Store *facts* in one transaction, run again after each conflict; False: it is stored."""
    count = len(facts.classes)
    for attempt in transaction.manager.attempts(ATTEMPTS):
        with attempt as current:
            if is_stored(library, facts.name):
                return False
            current.user = user
            content = facts.error or f"{count} class{'es' * (count != 1)}"
            current.note(f"{facts.name}: {content}")
            module = library.module(facts.name)
            checkout(module)
            module.fill(facts, library)
            library.add_words(" ".join([facts.doc, *(cls.doc for cls in facts.classes)]), module)
            library.tally.add(facts)
    return True
