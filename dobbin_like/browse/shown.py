"""The database that is shown, and its objects as of a moment. No class of theirs is loaded."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from transaction import TransactionManager

from dobbin_like.browse.moments import Moments
from dobbin_like.cli.stored import Snapshot, StoredObject
from dobbin_like.contract import StoredVersion
from dobbin_like.database import Database, store_of
from dobbin_like.exc import Error, TransactionNotFound
from dobbin_like.ids import Oid, Tid
from dobbin_like.objects.codec.shown.preview import LARGE
from dobbin_like.objects.codec.state_reader import Reference, references_in
from dobbin_like.objects.deltas.delta import ITEMS
from dobbin_like.storage import TransactionLog
from dobbin_like.storages.as_of import Pin, check_complete

_NAMES: Final = "name full_name title label key path id number owner user email text".split()
"""Attributes whose values tell people which object it is, the best first."""

_TREES: Final = ("dobbin_like.collections.BTree", "dobbin_like.collections.BTreeSet")


class _Managers(threading.local):
    """A transaction manager for each thread. None of them ever begins: nobody has a snapshot."""

    def __init__(self) -> None:
        self.manager = TransactionManager(explicit=True)


class Shown:
    """A log that is open for reading as long as it is shown. Any thread."""

    def __init__(self, path: str) -> None:
        managers = _Managers()
        storage = TransactionLog(path, read_only=True)
        try:
            self.database: Database[Any] = Database(
                storage, transaction_manager=lambda: managers.manager
            )
        except BaseException:
            storage.close()
            raise
        self.storage = storage
        self.path: str = storage.path
        self._publisher = store_of(self.database).publisher
        self.moments: Moments = Moments(storage)

    def close(self) -> None:
        """Close the log."""
        self.database.close()

    def has_news(self) -> bool:
        """Return whether there may be anything to catch up with."""
        return self._publisher.has_news()

    def catch_up(self) -> None:
        """Read what was committed meanwhile, and let go of files that were packed."""
        self._publisher.catch_up()
        self._publisher.drop_generations()

    def sight(self, at: Tid | None = None) -> Sight:
        """Return the objects as of *at*, by default as of now.

        Raises:
            TransactionNotFound: It is after the last transaction.
            PastDroppedError: It was packed away.
        """
        self.catch_up()
        if at is not None and at > self.storage.tid:
            reason = f"it is after the last one, which is {self.storage.tid}"
            raise TransactionNotFound(self.path, at, reason)
        return Sight(self.database, at)


class Sight(Snapshot):
    """The objects as of one tid, until the block ends. One thread."""

    def __init__(self, database: Database[Any], at: Tid | None) -> None:
        super().__init__(database)
        self._past: Pin | None = None
        if at is None:
            return
        try:
            self._past = Pin(self.storage, at)
            check_complete(self.storage, at)
        except BaseException:
            self.__exit__()
            raise
        self.tid = at

    def __exit__(self, *error: object) -> None:
        if self._past is not None:
            self._past.release()
        super().__exit__(*error)

    def state(self, found: StoredObject) -> dict[str, Any]:
        """Return the state, with a Cut for each value that is large. IntegrityError: damaged."""
        return self._scan.preview(found.oid, found.stored)

    def named(self, oid: int, stored: StoredVersion) -> str:
        """Return the name of the class of a version."""
        return self._object(Oid(oid), stored).class_name

    def ways(self, found: StoredObject) -> Iterator[tuple[str, Reference]]:
        """Yield the references of an object, each after the way to it.

        Those of a sorted tree are those of its items. IntegrityError: It is damaged.
        """
        is_tree = found.class_name in _TREES
        for part in self.parts(found):
            if is_tree and not part.is_item:
                continue  # Its nodes, and its length.
            if type(part.key) is Reference:
                yield f"{part.label} key", part.key
            for way, reference in references_in({"": part.value}):
                yield part.label + way[1:], reference

    def about(self, oid: int) -> About:
        """Return what there is to say about an object on one line. Raises nothing of ours.

        A large object has no title: its state would have to be decoded.
        """
        try:
            found = self.get(oid)
            if found is None:
                return About(Oid(oid), "", "", "not stored")
        except Error as error:
            return About(Oid(oid), "?", "", f"damaged: {error}")
        if len(found.stored.data) > LARGE:  # Many are on a page, each a line.
            return About(Oid(oid), found.class_name, "", "")
        try:
            return About(Oid(oid), found.class_name, self.title(self.state(found)), "")
        except Error as error:
            return About(Oid(oid), found.class_name, "", f"damaged: {error}")

    def title(self, state: dict[str, Any]) -> str:
        """Return what tells people which object it is, if anything does."""
        for name in _NAMES:
            value = state.get(name)
            if type(value) in (str, int):
                return self.values.short(value, 60).strip("'\"")
        items = state.get(ITEMS)
        if isinstance(items, (dict, list, set)):
            return f"{len(items):,} item{'' if len(items) == 1 else 's'}"
        return ""


class About(NamedTuple):
    """An object on one line; ``trouble`` tells why there is nothing to see of it."""

    oid: Oid
    class_name: str
    title: str
    trouble: str
