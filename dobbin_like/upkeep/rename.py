"""Renaming a class: a new row of the class table of the log. No state is changed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from dobbin_like.exc import IntegrityError, RenameError
from dobbin_like.exc.classes import FROM_ANOTHER_STORE, NOT_NAMED, OF_ANOTHER_STORE
from dobbin_like.ids import Oid
from dobbin_like.objects.codec.references import references
from dobbin_like.objects.codec.stand_in import StandInMeta
from dobbin_like.objects.faces.base import Persistent
from dobbin_like.objects.graph.changes import Changes
from dobbin_like.store import Store
from dobbin_like.transactions.own_commit import commit_own
from dobbin_like.transactions.publisher import Publisher

Name = tuple[str, str]  # Module and qualname.


def rename_class(store: Store, old: str | type, new: str | type) -> None:
    """Rename the class *old* of stored objects to *new*.

    For a class that was renamed, or moved to another module; also for a value class (a
    dataclass, an enum) or a function that is stored by name. Names are ``"module.Qualname"``;
    a class stands for its name. One small transaction, however many instances there are; not
    that of the calling thread. If the log already has *new*, the two become one class.

    An object that is read from then on has the new class, in other processes when they catch up;
    one in memory keeps its class until it is read again, and a value as long as the object that
    it is part of. A program that can't load the new class uses the old one, if it has it. New
    objects of the old class are stored under the old name again.

    Raises:
        RenameError: The log has no class *old*; *new* can't be loaded under the policy
            for loading; it does not derive from ``Persistent`` where the objects are
            persistent, or does where they are not; the two are the same.
        Other errors are those of a commit. In all cases, nothing was written.

    Cost: One small commit, and the classes of the log. If the old class can't be loaded
    and no object of it was used, the log is searched for one first.
    """
    store.check_open()
    publisher = store.publisher
    publisher.catch_up()
    renaming = _Renaming(publisher, old, new)
    # Before the lock: this may take long.
    renaming.check(renaming.numbers())

    def gather(_changes: Changes) -> list[tuple[int, str, str]]:
        numbers = renaming.numbers()  # another may have renamed it meanwhile
        renaming.check(numbers)
        return [(number, *renaming.new) for number in numbers]

    commit_own(publisher, gather, str(renaming))


class _Renaming:
    def __init__(self, publisher: Publisher, old: str | type, new: str | type) -> None:
        self._publisher = publisher
        self._texts = _text(old), _text(new)
        self._old = self._candidates(old)
        self.new, self._class = self._find(new)
        self._checked: set[int] = set()

    def __str__(self) -> str:
        return f"rename class {self._texts[0]} to {'.'.join(self.new)}"

    def _refuse(self, reason: str) -> RenameError:
        return RenameError(*self._texts, reason)

    def _candidates(self, name: str | type) -> list[Name]:
        """Return what *name* may mean: it does not show where the module ends."""
        if isinstance(name, type):
            return [(name.__module__, name.__qualname__)]
        parts = name.split(".")
        if len(parts) < 2 or not all(part.isidentifier() for part in parts):
            reason = f"{name!r} is no name of a class, such as 'shop.models.Cart'"
            raise self._refuse(reason)
        places = range(len(parts) - 1, 0, -1)
        return [(".".join(parts[:place]), ".".join(parts[place:])) for place in places]

    def _find(self, new: str | type) -> tuple[Name, Any]:
        """Return the class, and the name under which it is stored."""
        policy = self._publisher.graph.classes.policy
        reasons = []
        for name in self._candidates(new):
            found, reason = policy.resolve(*name)
            if found is None:
                reasons.append(reason)
            elif isinstance(new, type) and found is not new:
                reasons.append("the name means another class by now; was the module reloaded?")
            else:
                # Its own name, by which it is stored, if there are others.
                home = found.__module__, found.__qualname__
                return (home if policy.resolve(*home)[0] is found else name), found
        # The reason of the first candidate whose module is imported, if any, else of the first.
        reasons.sort(key=lambda reason: reason.endswith("is not imported"))
        text = f"it can't be loaded: {reasons[0]}{_remedy(reasons[0])}"
        raise self._refuse(text)

    def numbers(self) -> list[int]:
        """Return the numbers of the old name in the log: several if classes were merged."""
        rows = self._publisher.storage.names.rows().classes
        for candidate in self._old:
            numbers = [number for number, *name in rows if tuple(name) == candidate]
            if candidate == self.new and numbers:
                reason = "it has this name already"
                raise self._refuse(reason)
            if numbers:
                return numbers
        reason = "the log knows no class of this name; `dobbin info` lists them"
        raise self._refuse(reason)

    def check(self, numbers: Iterable[int]) -> None:
        """Refuse to give values the class of persistent objects, or the other way round."""
        derived = isinstance(self._class, type) and issubclass(self._class, Persistent)
        reason = "its objects are persistent, and the new is not derived from Persistent"
        if derived:
            reason = "no persistent object is of it, the new one derives from Persistent"
        for number in numbers:
            if number not in self._checked:
                if _is_persistent(self._publisher, number) != derived:
                    raise self._refuse(reason)
                self._checked.add(number)


def _remedy(reason: str) -> str:
    """Return what helps if a name is not loaded for *reason*."""
    if reason.endswith("is not imported"):
        return "; import it before, or name it in allow"
    if reason == NOT_NAMED:
        return "; name it in allow"
    if reason == OF_ANOTHER_STORE:
        return f"; {FROM_ANOTHER_STORE}"
    if reason.startswith("importing "):
        return "; correct the module, or sys.path if it is elsewhere"
    return "; define it there, or give its right name" if " has no " in reason else ""


def _text(name: object) -> str:
    if isinstance(name, type):
        return f"{name.__module__}.{name.__qualname__}"
    if not isinstance(name, str):
        text = f"expected a class or the name of one, got {type(name).__name__}"
        raise TypeError(text)
    return name


def _is_persistent(publisher: Publisher, number: int) -> bool:
    """Return whether the objects of a class are persistent, not values inside of states.

    Only if the class can't be loaded and no object of it was used, the log is searched for one.
    """
    graph = publisher.graph
    found = graph.classes.load(number)
    if isinstance(found, type) and issubclass(found, Persistent):
        return True
    if graph.classes.is_broken(number):
        return True
    if not isinstance(found, StandInMeta):
        return False
    # If there are many objects of the class, the first is found soon.
    if any(graph.ghosts.class_of(stored) == number for stored in _newest_versions(publisher)):
        return True
    found_in = (references(stored.data) for stored in _newest_versions(publisher))
    return any(target == number for pairs in found_in for _, target in pairs)


def _newest_versions(publisher: Publisher) -> Iterator[Any]:
    storage = publisher.storage
    for oid in range(storage.next_oid):
        with contextlib.suppress(IntegrityError):  # A damaged object does not hinder this.
            stored = storage.load(Oid(oid))
            if stored is not None:
                yield stored
