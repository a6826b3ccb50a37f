"""``find()``: the objects that have certain values, by an index if there is one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, SupportsIndex, TypeVar

from dobbin_like.exc import SearchError
from dobbin_like.indexes.conditions import Condition, condition
from dobbin_like.indexes.known import is_foreign, refuse_foreign
from dobbin_like.indexes.search import Search
from dobbin_like.objects.faces.elsewhere import IN_FOUND, telling_getattr
from dobbin_like.objects.values.short import short
from dobbin_like.store import Store, warn_if_redefined

T = TypeVar("T")

_OPTIONS: Final[dict[str, tuple[Any, str]]] = {
    "order_by": (str, "the name of one attribute (or sort what is found: sorted(..., key=...))"),
    "reverse": (int, "True or False"),
    "limit": ((int, SupportsIndex), "how many objects there may be"),
}


class Found(Generic[T]):
    """What ``find()`` returns: the objects, looked for anew each time it is iterated over.

    It is true if there is one; to find out takes as long as :meth:`first`. It has no length and
    no positions: use :meth:`count`, or ``list()``. It is for the thread, and the database, of
    which it was asked.
    """

    def __init__(
        self,
        store: Store,
        cls: type[T],
        conditions: dict[str, Condition],
        order_by: str | None,
        limit: int | None,
        *,
        reverse: bool,
    ) -> None:
        self._store = store
        self._cls = cls
        self._conditions = conditions
        self._order_by = order_by
        self._limit = limit
        self._reverse = reverse

    def __iter__(self) -> Iterator[T]:
        return self._look()

    def _look(self) -> Iterator[T]:
        """Look for the objects; warn if none is found because none has such an attribute."""
        if self._limit == 0:
            return iter(())
        search = Search(self._store, self._cls, self._conditions, self._order_by)
        found = search.run(reverse=self._reverse)
        for first in found:
            return islice(chain((first,), found), self._limit)
        search.warn_of_names()
        return iter(())

    def first(self) -> T | None:
        """Return the first object, or None."""
        return next(self._look(), None)

    def count(self) -> int:
        """Return how many there are. Cost: as much as ``list()``, but for the memory."""
        return sum(1 for _ in self._look())

    def __bool__(self) -> bool:
        """Return whether there is an object."""
        return next(self._look(), None) is not None

    if not TYPE_CHECKING:  # Else type checkers would take it for a sequence.

        def __len__(self) -> NoReturn:
            text = (
                "what find() returns has no length, each look is a search: take count(), or "
                "list() if you need the objects, too"
            )
            raise TypeError(text)

        def __getitem__(self, _key: object) -> NoReturn:
            text = (
                "what find() returns has no positions: take first(), ask for the first few by "
                "limit=..., or make a list() of it"
            )
            raise TypeError(text)

        def __reversed__(self) -> NoReturn:
            text = "what find() returns can't be reversed: ask with order_by=..., reverse=True"
            raise TypeError(text)

        __getattr__ = telling_getattr(IN_FOUND)

    def explain(self) -> str:
        """Return how the objects are found: by which index, what is looked at, what is sorted."""
        return Search(self._store, self._cls, self._conditions, self._order_by).text()

    def __repr__(self) -> str:
        asked = [f"{name}={value!r}" for name, value in self._conditions.items()]
        return f"<find({', '.join([self._cls.__name__, *asked])})>"


def find(
    store: Store,
    cls: type[T],
    where: Mapping[str, Any] | None = None,
    /,
    *,
    order_by: str | None = None,
    reverse: bool = False,
    limit: int | None = None,
    **conditions: Any,
) -> Found[T]:
    """Find the objects of *cls* and its subclasses whose attributes have certain values.

    ``find(Account, owner="Ada", balance=between(10, 20))``: a value, which it has to equal, or a
    condition of :mod:`dobbin_like.indexes`. The name of a function that has an index is asked as
    an attribute is. What is found is what the calling thread sees: its snapshot, with what it
    has changed and not committed, and the new objects that this leads to.

    Objects that the root does not lead to are among them until the database is packed, unless
    they were given to ``discard()``. What has no such attribute, or a value without an order, is
    not found; if no object of the class has it, a search that finds nothing gives an
    :class:`~dobbin_like.exc.UnknownAttributeWarning`. Without an index that fits, all objects are
    looked at, as by ``instances()``; :meth:`Found.explain` tells.

    Args:
        where: Conditions by the names of attributes, for those that can't be given as keywords:
            ``find(Card, {"limit": above(5)}, limit=10)``.
        order_by: An attribute by whose values they come, equal ones by their oids. Without, the
            order is not defined.
        reverse: The greatest first.
        limit: At most so many.

    Raises:
        TypeError: *cls* is no persistent class, or a value has no order.
        SearchError: The question is one of another library: ``age__gt=1``, ``order_by="-age"``. Or
            an option has a value that can only be meant for an attribute of its name.

    Cost: The entries of the index that fits best, the objects that have to be looked at, and all
    that the transaction has changed by now.
    """
    given: Any = cls
    if not isinstance(given, type):
        text = f"expected a class, got {type(given).__name__}"
        raise TypeError(text)
    if order_by is not None or limit is not None or reverse is not False:
        _check_options(store, cls, order_by=order_by, reverse=reverse, limit=limit)
    if limit is not None and limit < 0:
        text = f"limit is {limit}, expected 0 or more"
        raise ValueError(text)
    store.check_open()
    warn_if_redefined(store, cls)
    if where is not None:
        conditions = _joined(store, cls, where, conditions)
    asked = {name: _asked(name, value) for name, value in conditions.items()}
    for name in asked:
        if is_foreign(name):
            _refuse(store, cls, name, f"{name}=...")
    if order_by is not None and is_foreign(order_by):
        _refuse(store, cls, order_by, f"order_by={order_by!r}")
    return Found(store, cls, asked, order_by, limit, reverse=reverse)


def _asked(name: str, value: Any) -> Condition:
    try:
        return condition(value)
    except TypeError as error:
        several = isinstance(value, Iterable) and not isinstance(value, Mapping)
        hint = "; one of several values is asked for by one_of(*values)" if several else ""
        text = f"{name}={short(value)}: {error}{hint}"
        raise TypeError(text) from None


def _check_options(store: Store, cls: type, **options: Any) -> None:
    """Refuse values that can only be meant for attributes of these names."""
    for name, (fits, expected) in _OPTIONS.items():
        value = options[name]
        if not (value is None or isinstance(value, fits)):
            told = repr(value) if isinstance(value, Condition) else short(value)
            instead = (
                f"{name} is {expected}; for an attribute of that name, call "
                f"find({cls.__name__}, {{{name!r}: {told}}})"
            )
            raise SearchError(store.storage.path, cls.__name__, f"{name}={told}", instead)


def _joined(store: Store, cls: type, where: Any, conditions: dict[str, Any]) -> dict[str, Any]:
    """Return all conditions. SearchError: *where* is no mapping of names, or repeats one."""
    asked, instead = short(where), "expected conditions by names, {'name': value}"
    if isinstance(where, Mapping) and all(isinstance(name, str) for name in where):
        both = [name for name in where if name in conditions]
        if not both:
            return {**where, **conditions}
        asked, instead = f"..., {both[0]}=...", "it is asked twice, ask one condition"
    raise SearchError(store.storage.path, cls.__name__, asked, instead)


def _refuse(store: Store, cls: type, name: str, asked: str) -> None:
    """Raise SearchError unless there is an attribute of that name, or a function."""
    search = Search(store, cls, {}, None)
    if not search.has_function(name):
        refuse_foreign(store, cls, name, asked, search.run(reverse=False))
